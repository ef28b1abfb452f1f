"""The vectors of chunks and of their sentences: learnt in the background, kept by text, compared with a question's."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rag.chunking import Chunk
from rag.encoder import LANGUAGES, NAME, SIZE, Floats
from rag.evidence import sentences_of
from rag.ranking import Near

log = logging.getLogger(__name__)

#: About 40 chunks are learnt a second, and each takes some 4 kB: more than this is neither soon nor small.
MOST_CHUNKS = 20_000

#: The vectors of a chunk and of its sentences, (1 + n_sentences, 512), each up to a factor of its own.
Vectors = npt.NDArray[np.int8]

#: How long the file rests after it was written, in seconds: it may be 80 MB.
REST_S = 30.0

_FILE = "meanings.npz"
_SENTENCES = 2  # whoever changes how a chunk is split into sentences raises it, as each of them has its row
_ASKED = 16  # of so many questions the vectors are remembered
_NONE: Mapping[bytes, Vectors] = MappingProxyType({})


class Encodes(Protocol):
    """What makes vectors; see `Encoder`."""

    def encode(self, texts: Sequence[str]) -> Floats:
        """The vectors of some texts, each of length 1, (n, 512)."""


class Meanings:
    """
    What chunks mean, as far as it is known. Safe to use from several threads.

    Args:
        load: gives what makes vectors; called once, when it is needed first.
        save_to: the home that keeps them for the next start; None: they are not kept.
    """

    def __init__(self, load: Callable[[], Encodes], *, save_to: Path | None = None) -> None:
        self._load = load
        self._loading = threading.Lock()
        self._encoder: Encodes | None = None
        self._asked = lru_cache(maxsize=_ASKED)(lambda question: self._encode([question])[0])
        self._path = save_to / _FILE if save_to else None
        self._lock = threading.Lock()
        self._known: dict[bytes, Vectors] = _read(self._path) if self._path else {}
        self._whole = frozenset(self._known)  # what the file has, read or written by us

    def warm(self) -> None:
        """Load the encoder now, which the first question would otherwise wait for: about a second."""
        self._encode([])

    def missing(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """Those of some chunks that can be learnt and are not yet."""
        return [chunk for chunk in chunks if can_learn(chunk) and _key(chunk) not in self._known]

    def learn(self, chunks: Sequence[Chunk]) -> None:
        """Make the vectors of some chunks; each takes about 25 ms."""
        for chunk in chunks:
            key, vectors = _key(chunk), self._made(chunk)
            with self._lock:
                self._known[key] = vectors

    def learnt(self, chunks: Sequence[Chunk]) -> dict[bytes, Vectors]:
        """The vectors of chunks that are nobody else's: made, given back, and not remembered here."""
        return {_key(chunk): self._made(chunk) for chunk in chunks if can_learn(chunk)}

    def nearness(
        self, question: str, chunks: Sequence[Chunk], *, beside: Mapping[bytes, Vectors] = _NONE
    ) -> Near | None:
        """
        How near in meaning each of some chunks, and of their sentences, is to a question.

        A chunk in a language that the encoder does not know counts as the middle one of the others.

        Args:
            question: in plain text.
            chunks: what to compare it with; none: the question's own vector is made, for the next call.
            beside: further vectors, as `learnt` gives them.

        Returns:
            None where a chunk is not learnt yet, as it must not fall behind for that; or where none can be learnt.
        """
        found = [self._known.get(key, beside.get(key)) for key in map(_key, chunks)]
        vectors = [one for one in found if one is not None]
        if any(one is None and can_learn(chunk) for one, chunk in zip(found, chunks, strict=True)):
            return None
        asked = self._asked(question)
        if not vectors:
            return None
        rows = np.concatenate(vectors).astype(np.float32)
        cosines = rows @ asked / np.sqrt(np.einsum("ij,ij->i", rows, rows)).clip(min=1)
        starts = np.cumsum([0, *map(len, vectors[:-1])])
        bounds = np.stack((starts, starts + 1), axis=1).ravel()  # each chunk before its sentences
        near = (cosines[starts] + np.maximum.reduceat(cosines, bounds)[1::2]) / 2
        of_chunks = np.full(len(chunks), np.median(near), dtype=np.float32)
        of_chunks[[one is not None for one in found]] = near
        each = iter(np.split(cosines, starts[1:]))
        return Near(of_chunks, [() if one is None else tuple(next(each)[1:].tolist()) for one in found])

    def keep(self, chunks: Iterable[Chunk], *, save: bool = True) -> bool:
        """
        Forget all but these chunks, and keep them for the next start.

        What another process has learnt of these chunks stays in the file.

        Args:
            chunks: all there are.
            save: whether the file may be written: only by whoever holds the home's lock.

        Returns:
            Whether it had to be.

        Raises:
            OSError: the disk is full or closed, which costs the time of learning again; worth another try.
        """
        wanted = {_key(chunk) for chunk in chunks}
        with self._lock:
            self._known = {key: vectors for key, vectors in self._known.items() if key in wanted}
            known = dict(self._known)
        if self._path is None or not save or not _update(self._path, wanted, known, whole=self._whole):
            return False
        self._whole = frozenset(known)
        return True

    def _encode(self, texts: Sequence[str]) -> Floats:
        with self._loading:
            encoder = self._encoder = self._encoder or self._load()
        return encoder.encode(texts)

    def _made(self, chunk: Chunk) -> Vectors:
        sentences = [sentence.text for sentence in sentences_of(chunk)] or [chunk.text]
        vectors = self._encode([_text(chunk), *sentences])
        # Small whole numbers are a quarter of the size, and their cosines are right to three digits.
        largest = np.abs(vectors).max(axis=1, keepdims=True).clip(min=1e-9)
        whole: Vectors = np.rint(vectors * (127 / largest)).astype(np.int8)
        return whole


class Keeping:
    """
    The file of meanings in a home: written by nobody but the process that has the home, and not too often, as it is
    large and written whole. To be called in one thread, except for the attributes and `is_due`.

    Args:
        home: where it is; None: nowhere.
        is_ours: asked whether this process has the home; see `rag.homes.lock_of`.
        rest_s: how long it rests after it was written, in seconds.
        clock: tells the time, in seconds.

    Attributes:
        unkept: whether something may have been learnt, or deleted, that the file does not know of.
    """

    def __init__(
        self,
        home: Path | None,
        *,
        is_ours: Callable[[Path], bool],
        rest_s: float = REST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.home = home
        self.unkept = True
        self._is_ours = is_ours
        self._rest_s, self._clock = rest_s, clock
        self._rests_until = clock()

    @property
    def is_due(self) -> bool:
        """Whether there is something to keep, and the rest is over."""
        return self.unkept and self._clock() >= self._rests_until

    def keep(self, chunks: Sequence[Chunk], meanings: Meanings | None) -> None:
        """
        Forget all but these chunks, and keep them for the next start.

        What cannot be kept now stays unkept: later the process that has the home may have ended, or the disk be no
        longer full.

        Args:
            chunks: all there are.
            meanings: what is known of them; None: nobody learns them, so that others are only deleted.
        """
        done = wrote = False
        try:
            ours = self._has_home()
            if meanings:
                wrote = meanings.keep(chunks, save=ours)
            elif ours and self.home:
                wrote = forget_all_but(chunks, home=self.home)
            done = ours or self.home is None
        except OSError as error:
            log.debug("the meanings cannot be kept in %s: %s", self.home, error)
        finally:  # whatever else went wrong, too
            if not done:
                self.unkept = True
            if wrote or not done:
                self._rests_until = self._clock() + self._rest_s

    def _has_home(self) -> bool:
        if self.home is None:
            return False
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._is_ours(self.home)


def forget_all_but(chunks: Iterable[Chunk], *, home: Path) -> bool:
    """
    Delete what is kept of other chunks from a home; see `Meanings.keep`.

    Returns:
        Whether there was anything to delete.

    Raises:
        OSError: it cannot be deleted now.
    """
    path = home / _FILE
    return path.exists() and _update(path, {_key(chunk) for chunk in chunks}, {})


def can_learn(chunk: Chunk) -> bool:
    """Whether the encoder knows the language of a chunk."""
    return chunk.language in LANGUAGES


def _text(chunk: Chunk) -> str:
    return f"{'. '.join(chunk.heading)}. {chunk.text}" if chunk.heading else chunk.text


def _key(chunk: Chunk) -> bytes:
    # All that the vectors are made of: the text, and what tells its sentences apart.
    told = "\0".join((_text(chunk), chunk.opening, chunk.language, "markdown" if chunk.markdown else "plain"))
    return hashlib.blake2b(told.encode("utf-8", "replace"), digest_size=12).digest()


def _made_by() -> str:
    return f"{NAME}, sentences {_SENTENCES}"


def _read(path: Path) -> dict[bytes, Vectors]:
    # What is broken, or was made in another way, is learnt anew.
    with contextlib.suppress(Exception):  # whatever numpy says of odd bytes
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            name, keys, sizes, rows = (saved[part] for part in ("encoder", "keys", "sizes", "rows"))
        fits = rows.dtype == np.int8 and rows.shape == (int(sizes.sum()), SIZE) and sizes.min() > 1
        if fits and str(name) == _made_by():
            each = np.split(rows, np.cumsum(sizes)[:-1])
            return {key.tobytes(): vectors for key, vectors in zip(keys, each, strict=True)}
    return {}


def _read_keys(path: Path) -> frozenset[bytes] | None:
    # None for a file that `_read` makes nothing of, as far as this can tell without reading all.
    if not path.exists():
        return frozenset()
    with contextlib.suppress(Exception), open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
        if str(saved["encoder"]) == _made_by():
            return frozenset(key.tobytes() for key in saved["keys"])
    return None


def _update(
    path: Path,
    wanted: AbstractSet[bytes],
    known: Mapping[bytes, Vectors],
    *,
    whole: AbstractSet[bytes] = frozenset(),
) -> bool:
    # Adds what is known to the file, unless that stands there whole already, and deletes from it what is not wanted.
    for left in path.parent.glob(f"{_FILE}.*.part"):  # by a process that was killed while it wrote
        left.unlink(missing_ok=True)
    saved = _read_keys(path)
    if saved is not None and saved <= wanted and known.keys() <= saved & whole:
        return False
    others = _read(path) if saved and not saved & wanted <= known.keys() else {}
    vectors = {**{key: rows for key, rows in others.items() if key in wanted}, **known}
    if vectors:
        _write(path, vectors)
    else:
        path.unlink(missing_ok=True)
    return True


def _write(path: Path, known: Mapping[bytes, Vectors]) -> None:
    temporary = path.with_name(f"{_FILE}.{os.getpid()}.part")  # whoever saves the index beside it deletes *.tmp
    columns: dict[str, Any] = {
        "encoder": np.array(_made_by()),
        "keys": np.frombuffer(b"".join(known), dtype=np.uint8).reshape(len(known), -1),
        "sizes": np.array([len(vectors) for vectors in known.values()], dtype=np.int64),
        "rows": np.concatenate(list(known.values())),
    }
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **columns)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

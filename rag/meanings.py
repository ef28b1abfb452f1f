"""The vectors of chunks and of their sentences: learnt in the background, kept by text, compared with a question's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
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

#: About 40 chunks are learnt a second, and each takes some 4 kB: more than this is neither soon nor small.
MOST_CHUNKS = 20_000

#: The vectors of a chunk and of its sentences, (1 + n_sentences, 512), each up to a factor of its own.
Vectors = npt.NDArray[np.int8]

_FILE = "meanings.npz"
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
        save_to: the folder that keeps them for the next start; None: they are not kept.
    """

    def __init__(self, load: Callable[[], Encodes], *, save_to: Path | None = None) -> None:
        self._load = load
        self._loading = threading.Lock()
        self._encoder: Encodes | None = None
        self._asked = lru_cache(maxsize=_ASKED)(lambda question: self._encode([question])[0])
        self._path = save_to / _FILE if save_to else None
        self._lock = threading.Lock()
        self._known: dict[bytes, Vectors] = _read(self._path) if self._path else {}
        self._kept = frozenset(self._known)  # what the file has

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

    def keep(self, chunks: Iterable[Chunk]) -> None:
        """Forget all but these chunks, and keep them for the next start."""
        wanted = {_key(chunk) for chunk in chunks}
        with self._lock:
            self._known = {key: vectors for key, vectors in self._known.items() if key in wanted}
            known = dict(self._known)
        if self._path is None or known.keys() == self._kept:
            return
        with contextlib.suppress(OSError):  # a full disk costs the time of learning again, and is tried again
            if known:
                _write(self._path, known)
            else:
                self._path.unlink(missing_ok=True)
            self._kept = frozenset(known)

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


def can_learn(chunk: Chunk) -> bool:
    """Whether the encoder knows the language of a chunk."""
    return chunk.language in LANGUAGES


def _text(chunk: Chunk) -> str:
    return f"{'. '.join(chunk.heading)}. {chunk.text}" if chunk.heading else chunk.text


def _key(chunk: Chunk) -> bytes:
    return hashlib.blake2b(_text(chunk).encode("utf-8", "replace"), digest_size=12).digest()


def _read(path: Path) -> dict[bytes, Vectors]:
    # What is broken, or of another encoder, is learnt anew.
    with contextlib.suppress(Exception):  # whatever numpy says of odd bytes
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            name, keys, sizes, rows = (saved[part] for part in ("encoder", "keys", "sizes", "rows"))
        if str(name) == NAME and rows.dtype == np.int8 and rows.shape == (int(sizes.sum()), SIZE) and sizes.min() > 1:
            each = np.split(rows, np.cumsum(sizes)[:-1])
            return {key.tobytes(): vectors for key, vectors in zip(keys, each, strict=True)}
    return {}


def _write(path: Path, known: Mapping[bytes, Vectors]) -> None:
    temporary = path.with_name(f"{_FILE}.{os.getpid()}.part")  # whoever saves the index beside it deletes *.tmp
    columns: dict[str, Any] = {
        "encoder": np.array(NAME),
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

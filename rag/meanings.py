"""The vectors of chunks: learnt in the background, kept by text, compared with a question's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from rag.chunking import Chunk
from rag.encoder import SIZE, Encoder

Floats = npt.NDArray[np.float32]

# A machine without a graphics card learns about 15 to 25 chunks a second; more than this is hours.
MOST_CHUNKS = 20_000
_FILE = "meanings.npz"


class Meanings:
    """
    What chunks mean, as far as it is known. Safe to use from several threads.

    Args:
        encoder: makes the vectors.
        save_to: the folder that keeps them for the next start; None: they are not kept.
    """

    def __init__(self, encoder: Encoder, *, save_to: Path | None = None) -> None:
        self._encoder = encoder
        self._path = save_to / _FILE if save_to else None
        self._lock = threading.Lock()
        self._vectors: dict[bytes, Floats] = {}
        self._kept: frozenset[bytes] = frozenset()  # what the file has
        if self._path and self._path.exists():
            with contextlib.suppress(OSError, ValueError, KeyError, EOFError, BadZipFile):  # broken: learnt anew
                with open(self._path, "rb") as file, np.load(file, allow_pickle=False) as saved:
                    keys, vectors = saved["keys"], saved["vectors"].astype(np.float32)
                if vectors.shape == (len(keys), SIZE):
                    self._vectors = {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}
                    self._kept = frozenset(self._vectors)

    def missing(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Those of some chunks that nobody knows the meaning of yet."""
        return [chunk for chunk in chunks if _key(chunk) not in self._vectors]

    def learn(self, chunks: Sequence[Chunk]) -> None:
        """Make the vectors of some chunks; each takes about 50 ms."""
        for chunk in chunks:
            vector = self._encoder.encode(_text(chunk))
            with self._lock:
                self._vectors[_key(chunk)] = vector

    def closeness(self, question: str, chunks: Sequence[Chunk]) -> Floats | None:
        """
        How near the meaning of each chunk is to a question's: cosines, (n_chunks,).

        None if one of them is not known yet, as a chunk must not fall behind only because nobody looked at it.
        """
        known = [self._vectors.get(_key(chunk)) for chunk in chunks]
        vectors = [vector for vector in known if vector is not None]
        if not vectors or len(vectors) < len(known):
            return None
        cosines: Floats = np.stack(vectors) @ self._encoder.encode(question)
        return cosines

    def keep(self, chunks: Iterable[Chunk]) -> None:
        """Forget all but these chunks, and keep them for the next start."""
        wanted = {_key(chunk) for chunk in chunks}
        with self._lock:
            self._vectors = {key: vector for key, vector in self._vectors.items() if key in wanted}
            vectors = dict(self._vectors)
        if self._path is None or vectors.keys() == self._kept:
            return
        self._kept = frozenset(vectors)
        if not vectors:
            self._path.unlink(missing_ok=True)
            return
        temporary = self._path.with_name(f"{_FILE}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):  # a full disk costs the time of learning again
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                np.savez(
                    file,
                    keys=np.frombuffer(b"".join(vectors), dtype=np.uint8).reshape(len(vectors), -1),
                    vectors=np.stack(list(vectors.values())).astype(np.float16),
                )
            os.replace(temporary, self._path)


def _text(chunk: Chunk) -> str:
    return f"{'. '.join(chunk.heading)}. {chunk.text}" if chunk.heading else chunk.text


def _key(chunk: Chunk) -> bytes:
    return hashlib.blake2b(_text(chunk).encode("utf-8", "replace"), digest_size=12).digest()

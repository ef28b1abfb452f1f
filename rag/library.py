"""The live document set: read, indexed, searched, and swapped in one step when the folder changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.bm25 import Bm25Index, Hit
from rag.chunking import split
from rag.documents import Document, Skipped, find_files, read_folder, read_inline
from rag.errors import DocumentsError
from rag.text import words

_Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Shelf:
    """
    One state of the document set; never changed, only replaced.

    Attributes:
        documents: by name.
        index: over all their chunks.
        skipped: the files left out, with their reasons.
        fault: why there are no documents, in words; None if there are some.
    """

    documents: dict[str, Document]
    index: Bm25Index
    skipped: tuple[Skipped, ...] = ()
    fault: str | None = None


class Library:
    """
    The documents of a folder or of an inline list.

    Args:
        folder: where they are.
        inline: texts to use instead of the folder; empty: use the folder.
        chunk_words: the size of a chunk, in words.
    """

    def __init__(self, folder: Path, *, inline: Sequence[str] = (), chunk_words: int = 160) -> None:
        self._folder = folder
        self._inline = tuple(inline)
        self._chunk_words = chunk_words
        self._fingerprint: _Fingerprint | None = None
        self._lock = asyncio.Lock()
        self.shelf = Shelf({}, Bm25Index([]), fault="The documents are not read yet.")

    async def refresh(self) -> bool:
        """
        Read the documents again if any of them changed; says whether they did.

        Searches go on in the old state until the new one is complete. A folder that cannot be read leaves the
        last good state, with the fault noted in it.
        """
        async with self._lock:
            fingerprint = await asyncio.to_thread(self._look)
            if fingerprint == self._fingerprint and self.shelf.fault is None:
                return False
            self.shelf = await asyncio.to_thread(self._read)
            self._fingerprint = fingerprint
            return True

    def search(self, query: str, *, k: int = 4) -> list[Hit]:
        """Find the chunks that best match a question; see `Bm25Index.search`."""
        return self.shelf.index.search(query, k=k)

    def weight(self, word: str) -> float:
        """How much a word tells in these documents; see `Bm25Index.idf`."""
        return self.shelf.index.idf(word)

    def nearest(self, question: str, *, most: int = 3) -> list[str]:
        """
        The names of the documents that look most like a question although no word matches.

        Likeness is shared groups of three letters between the question's words and a document's name and
        headings, which forgives typing errors. Without any, the first documents stand for all.
        """
        shelf = self.shelf
        asked = _trigrams(words(question))
        likeness = dict.fromkeys(shelf.documents, 0.0)
        for chunk in shelf.index.chunks:
            title = _trigrams(words(f"{chunk.document} {' '.join(chunk.heading)}"))
            share = len(asked & title) / (len(asked | title) or 1)
            likeness[chunk.document] = max(likeness[chunk.document], share)
        ranked = sorted(likeness, key=lambda name: -likeness[name])
        return ranked[:most]

    def _look(self) -> _Fingerprint:
        if self._inline or not os.path.isdir(self._folder):
            return ()
        seen = []
        for path in find_files(self._folder):
            try:
                status = os.stat(path)
            except OSError:
                continue
            seen.append((str(path), status.st_size, status.st_mtime_ns))
        return tuple(seen)

    def _read(self) -> Shelf:
        try:
            reading = read_inline(self._inline) if self._inline else read_folder(self._folder)
        except (DocumentsError, OSError) as error:
            kept = " Answers still come from what was read before." if self.shelf.documents else ""
            return Shelf(self.shelf.documents, self.shelf.index, fault=f"{error}{kept}")
        chunks = [chunk for document in reading.documents for chunk in split(document, max_words=self._chunk_words)]
        by_name = {document.name: document for document in reading.documents}
        return Shelf(by_name, Bm25Index(chunks), reading.skipped)


def _trigrams(some_words: Sequence[str]) -> set[str]:
    return {f" {word} "[at : at + 3] for word in some_words for at in range(len(word))}

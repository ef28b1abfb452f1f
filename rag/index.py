"""What the rest of the product asks of an index, whichever engine is behind it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, Self

from rag.bm25 import Hit, Meaning
from rag.chunking import Chunk


class Index(Protocol):
    """
    Chunks that are searched by words; safe to ask from several threads. See `Bm25Index` for what each verb promises.

    `Bm25Index` is one, on this machine, and `rag.qdrant.QdrantIndex` is one, on a server. Both take the words of
    chunks from `rag.part.terms`, so that the same question finds the same words.
    """

    def __len__(self) -> int:
        """How many chunks there are."""

    @property
    def names(self) -> list[str]:
        """The names of the documents, in corpus order."""

    @property
    def has_removed(self) -> bool:
        """Whether it still holds texts that it no longer finds."""

    @property
    def needs_merge(self) -> bool:
        """Whether `merged` pays."""

    def search(self, query: str, *, k: int = 4) -> list[Hit]:
        """The chunks that best match a question by BM25."""

    def ranked(self, query: str, *, k: int = 4, depth: int = 30, meaning: Meaning | None = None) -> list[Hit]:
        """The chunks that best answer a question: the best by BM25, after a second look at them."""

    def guessed(self, query: str, *, k: int = 4) -> list[Hit]:
        """Chunks with the words that look most like a question's."""

    def words(self, query: str) -> list[str]:
        """The words of a question as the documents' languages make them."""

    def idf(self, word: str) -> float:
        """How much a word tells; at least 0."""

    def document(self, name: str) -> list[Chunk]:
        """The chunks of a document, in order; KeyError if there is none."""

    def updated(self, replaced: Mapping[str, Sequence[Chunk]], removed: Collection[str] = ()) -> Self:
        """Another index, with some documents added, replaced or removed; this one stays as it is."""

    def merged(self) -> Self:
        """The same index in one piece."""

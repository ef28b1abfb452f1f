"""A part of an index: postings and chunks side by side, of which some may be struck out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rag import okapi
from rag.arrays import BrokenFile, offsets_of
from rag.chunking import Chunk
from rag.languages import LANGUAGES
from rag.passages import Passages
from rag.segment import Segment
from rag.text import words

Ints = npt.NDArray[Any]

# Chunks of a saved index whose words are made again, to see whether they are still made that way.
_TRIED = 8
# Some of everything that the rules for words treat in a way of their own.
_PROBE = (
    "The running routers of gpt-oss-20b, FOUNDRY_LOCAL_ENDPOINT and streamToken: rag/text.py 2.4.6, 1,024 MB, C++ "
    "Die Häuser der Städte und les maisons des villes, casas pequeñas, hiše v mestih, дома в городах, "
    "कार्यान्वयन गर्दैछन् ५२७३, 東京タワーで食べる, กรุงเทพมหานคร, 학교에서, المكتبة"
)


def terms(chunk: Chunk) -> list[str]:
    """
    The words by which a chunk is found: its headings' twice, as they say what it is about, and its text's.

    The name of its document stands for a heading where it says something else.

    >>> terms(Chunk("It is 8000.", "manual/router.md", 0, ("Ports",)))
    ['router', 'port', 'port', '8000']
    """
    headings = words(" ".join(chunk.heading), chunk.language)
    name = [word for word in words(_stem_of_name(chunk.document), chunk.language) if word not in headings]
    return [*name, *headings, *headings, *words(f"{chunk.opening} {chunk.text}", chunk.language)]


def check_owners(replaced: Mapping[str, Sequence[Chunk]]) -> None:
    """
    Make sure that chunks are given for the document that they belong to.

    Raises:
        ValueError: one is not.
    """
    for name, chunks in replaced.items():
        for chunk in chunks:
            if chunk.document != name:
                raise ValueError(f"a chunk of {chunk.document} was given for {name}")


@cache
def rules() -> str:
    """A fingerprint of the rules by which chunks become words; what was indexed by others finds nothing."""
    made = [
        terms(Chunk(_PROBE, "manual/a-router.md", 0, ("Running ports", "Čas"), opening="| Größe |", language=language))
        for language in (*LANGUAGES, "ja", "th", "xx")
    ]
    return hashlib.blake2b(repr((made, okapi.K1, okapi.B)).encode("utf-8", "replace"), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Part:
    """
    A segment with its chunks, of which some may be removed.

    Attributes:
        segment, passages: the same rows as postings and as chunks.
        removed: the rows that do not count, ascending.
        frequencies: in how many of the rows that count each word stands, (n_words,).
        tokens: how many words the rows that count have.
        rank: the corpus order of the rows; None: their own.
    """

    segment: Segment
    passages: Passages
    removed: Ints
    frequencies: Ints
    tokens: int
    rank: Ints | None = None

    @classmethod
    def of(cls, segment: Segment, passages: Passages) -> Part:
        return cls(segment, passages, np.zeros(0, dtype=np.int64), segment.frequencies, len(segment.tokens))

    @classmethod
    def built(cls, chunks: Sequence[Chunk]) -> Part:
        return cls.of(Segment.build(terms(chunk) for chunk in chunks), Passages.of(chunks))

    @classmethod
    def joined(cls, parts: Sequence[tuple[Part, Ints]], order: Ints | None = None) -> Part:
        segment = Segment.joined([(part.segment, rows) for part, rows in parts], order)
        return cls.of(segment, Passages.joined([(part.passages, rows) for part, rows in parts], order))

    def __len__(self) -> int:
        return len(self.segment) - len(self.removed)

    def without(self, rows: Ints) -> Part:
        if not len(rows):
            return self
        removed = np.sort(np.concatenate((self.removed, rows)))
        frequencies = self.frequencies - self.segment.frequencies_in(rows)
        tokens = self.tokens - len(self.segment.tokens_of(rows))
        return Part(self.segment, self.passages, removed, frequencies, tokens, self.rank)

    def arrays(self) -> dict[str, Ints]:
        return self.segment.arrays() | self.passages.arrays()

    @classmethod
    def restored(cls, arrays: Mapping[str, Ints]) -> Part:
        return cls.of(Segment.restored(arrays), Passages.restored(arrays))

    def check(self) -> None:
        # A saved index whose words were made by other rules finds nothing.
        for row in np.linspace(0, len(self.segment) - 1, min(_TRIED, len(self.segment)), dtype=np.int64):
            if terms(self.passages[row]) != self.segment.words_of(row):
                raise BrokenFile("the saved index was made with other rules for words")

    def ranked(self, places: Sequence[tuple[int, int]]) -> Part:
        # The places of its documents in corpus order: first row and number of rows.
        rows = rows_at(places)
        if np.all(rows[1:] > rows[:-1]):
            return self
        rank = np.zeros(len(self.segment), dtype=np.int64)
        rank[rows] = np.arange(len(rows))
        return Part(self.segment, self.passages, self.removed, self.frequencies, self.tokens, rank)

    def best(self, asked: Sequence[tuple[str, float]], k: int, average: float) -> list[tuple[float, int]]:
        ids = self.segment.words
        known = [(ids[word], idf) for word, idf in asked if word in ids]
        removed = self.removed if len(self.removed) else None
        rows, scores = self.segment.best(known, k, average=average, removed=removed, rank=self.rank)
        return list(zip(scores.tolist(), rows.tolist(), strict=True))


def rows_at(places: Sequence[tuple[int, int]]) -> Ints:
    """The rows of some stretches, each given as its first row and its length."""
    if not places:
        return np.zeros(0, dtype=np.int64)
    firsts, sizes = np.array(places, dtype=np.int64).T
    starts = offsets_of(sizes)
    rows: Ints = np.arange(starts[-1]) + np.repeat(firsts - starts[:-1], sizes)
    return rows


def _stem_of_name(document: str) -> str:
    return document.rsplit("/", 1)[-1].rsplit(".", 1)[0]

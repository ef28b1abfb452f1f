"""BM25 over chunks: rank-bm25's statistics, answered from postings instead of by a walk over every chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rank_bm25 import BM25Okapi

from rag.chunking import Chunk
from rag.text import words

_Postings = tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Hit:
    """
    A chunk that matched.

    Attributes:
        chunk: the chunk.
        score: its BM25 score; comparable within one query only, and 0 or below for a true match in a tiny corpus.
    """

    chunk: Chunk
    score: float


class Bm25Index:
    """An immutable index; safe to search from several threads."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks = tuple(chunks)
        self._idf: dict[str, float] = {}
        self._postings: dict[str, _Postings] = {}
        # A chunk is found by its headings and by its document's name as well as by its text.
        corpus = [words(f"{_name(chunk)} {' '.join(chunk.heading)} {chunk.text}") for chunk in self.chunks]
        if any(corpus):
            self._build(BM25Okapi(corpus))

    def _build(self, statistics: BM25Okapi) -> None:
        self._idf = statistics.idf
        lengths = np.asarray(statistics.doc_len, dtype=np.float64)  # (n_chunks,)
        penalty = statistics.k1 * (1 - statistics.b + statistics.b * lengths / statistics.avgdl)
        rows: dict[str, list[int]] = {}
        counts: dict[str, list[int]] = {}
        for row, frequencies in enumerate(statistics.doc_freqs):
            for word, count in frequencies.items():
                rows.setdefault(word, []).append(row)
                counts.setdefault(word, []).append(count)
        for word, where in rows.items():
            at = np.asarray(where, dtype=np.intp)
            frequency = np.asarray(counts[word], dtype=np.float64)
            gain = self._idf[word] * (frequency * (statistics.k1 + 1) / (frequency + penalty[at]))
            self._postings[word] = (at, gain)

    def search(self, query: str, *, k: int = 4) -> list[Hit]:
        """
        Find the chunks that best match a question.

        Only chunks sharing a word with the query are returned, so the list may be shorter than `k`, or empty.
        Equal scores keep corpus order.

        Args:
            query: the question, in plain text.
            k: the most hits to return; at least 1.

        Returns:
            Up to `k` hits, best first.

        Raises:
            ValueError: `k` is below 1.

        Source: Okapi BM25 as in Trotman et al. (2014), via rank-bm25.

        >>> index = Bm25Index([Chunk("Hold the button for ten seconds.", "router.md", 0)])
        >>> [hit.chunk.document for hit in index.search("which button?")]
        ['router.md']
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, was: {k}")
        found = [self._postings[word] for word in words(query) if word in self._postings]
        if not found:
            return []
        scores = np.zeros(len(self.chunks))  # (n_chunks,)
        matched = np.zeros(len(self.chunks), dtype=bool)
        for at, gain in found:
            scores[at] += gain
            matched[at] = True
        rows = np.flatnonzero(matched)
        best = rows[np.argsort(-scores[rows], kind="stable")[:k]]
        return [Hit(self.chunks[row], float(scores[row])) for row in best]

    def idf(self, word: str) -> float:
        """
        How much a word (as `words` makes it) tells: rarer words tell more; at least 0.

        A word that no chunk has counts as much as the rarest one.
        """
        return max(0.0, self._idf.get(word, self._rarest))

    @property
    def _rarest(self) -> float:
        return float(np.log(len(self.chunks) + 0.5) - np.log(1.5)) if self.chunks else 0.0


def _name(chunk: Chunk) -> str:
    return chunk.document.rsplit("/", 1)[-1].rsplit(".", 1)[0]

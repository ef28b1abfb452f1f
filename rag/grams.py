"""Groups of four letters of the words of a segment: what makes `Normandy` look like `Norman`."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from rag.arrays import gathered
from rag.segment import Segment

Ints = npt.NDArray[Any]

LENGTH = 4
# Words that share fewer of their groups than this have nothing to do with each other.
LEAST_LIKENESS = 0.4
# One wrong letter spoils four groups; to guess what was meant, fewer must do.
_GUESS = 0.2
# How often a group stands in the rows is counted in so many buckets; a shared bucket only makes it look commoner.
_BUCKETS = 1 << 18


class Grams:
    """
    The groups of letters of a segment's vocabulary. The spaces around a word are part of its first and last group.

    Attributes:
        hashes: the groups of all words, one word after the other, (n_grams,).
        starts: where each word's groups begin, and the end of the last, (n_words + 1,).
        average: how many groups a row of the segment has on average.
    """

    def __init__(self, segment: Segment) -> None:
        self._names = segment.names
        self.hashes, self.starts = hashes_of(segment.names)
        lengths = np.diff(self.starts)
        of_word = np.repeat(segment.frequencies.astype(np.float32), lengths)
        self._rows_with = np.bincount(self.hashes & (_BUCKETS - 1), weights=of_word, minlength=_BUCKETS)
        counts = np.bincount(segment.tokens, minlength=len(lengths)) if len(segment.tokens) else np.zeros(0)
        self.average = float(counts @ lengths) / max(1, len(segment))

    def of(self, words: Ints) -> tuple[Ints, Ints]:
        """The groups of some words by their ids, and for each group the place of its word among them."""
        lengths = self.starts[words + 1] - self.starts[words]
        return gathered(self.hashes, self.starts, words), np.repeat(np.arange(len(words)), lengths)

    def nearest(self, word: str) -> tuple[float, str]:
        """The word of the vocabulary that looks most like a word, and how much, 0 to 1; there may be none."""
        wanted = np.unique(hashes_of([word])[0])
        lengths = np.diff(self.starts)
        if not len(lengths):
            return 0.0, ""
        shared = np.add.reduceat(np.isin(self.hashes, wanted), self.starts[:-1], dtype=np.int64)
        alike = 2 * shared / (lengths + len(wanted))
        best = int(alike.argmax())
        return (float(alike[best]), self._names[best]) if alike[best] >= _GUESS else (0.0, "")

    def rows_with(self, grams: Ints) -> npt.NDArray[np.float64]:
        """In about how many rows each group stands; rather too many than too few."""
        rows: npt.NDArray[np.float64] = self._rows_with[grams & (_BUCKETS - 1)]
        return rows


def grams_of(segment: Segment) -> Grams:
    """The groups of letters of a segment, made once for as long as it lives."""
    grams = _made.get(segment)
    if grams is None:
        grams = _made[segment] = Grams(segment)
    return grams


_made: WeakKeyDictionary[Segment, Grams] = WeakKeyDictionary()


def hashes_of(words: list[str]) -> tuple[Ints, Ints]:
    """
    The groups of letters of some words: hashes (n_grams,) and where each word's begin (n_words + 1,).

    A word of n letters has n - 1 groups, and one of one letter has one.
    """
    if not words:
        return np.zeros(0, dtype=np.uint32), np.zeros(1, dtype=np.int64)
    text = np.frombuffer(f"  {'  '.join(words)}    ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    sizes = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    begins = np.concatenate(([0], (sizes + 2).cumsum()[:-1])) + 1  # of the space before each word
    hashes = np.zeros(len(text) - LENGTH + 1, dtype=np.uint32)
    for at in range(LENGTH):
        hashes *= np.uint32(0x01000193)
        hashes ^= text[at : len(hashes) + at]
    hashes ^= hashes >> np.uint32(15)
    hashes *= np.uint32(0x2C1B3C6D)
    hashes ^= hashes >> np.uint32(12)
    counts = np.maximum(sizes - 1, 1)
    starts = np.concatenate(([0], counts.cumsum()))
    return hashes[np.repeat(begins - starts[:-1], counts) + np.arange(starts[-1])], starts

"""
Postings of a set of chunks, and the exact best of them for a question, most chunks never being scored.

Beside each posting lies its bound: the most that the word can add to the chunk's score, rounded up to a byte. The
bounds of the rarer words are added up; the words that many chunks have are only looked up, in a row of bounds for
every chunk, where the sum can still reach the best k. What is left, about ten chunks, is scored exactly.

Source: MaxScore (Turtle and Flood 1995), with quantised impacts, in as few array operations as possible.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, count
from operator import itemgetter
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rag import okapi
from rag.arrays import Strings, gathered, offsets_of

Ints = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
# The postings of a word that is asked for: how many, where they begin, its id, and what a step of a bound counts.
_Span = tuple[int, int, int, float]

# Impacts are kept rounded up to steps that fit a byte.
_STEP = okapi.IMPACT_LIMIT / 255
# Sums of bounds are made in 32 bits: what they may be wrong by, many times over.
_ROUNDING = 1e-4
_TINY = 1e-30
# Words in more than this share of the rows have a bound for every row, to be looked up instead of added.
_DENSE = 1 / 16
# From how many rows of one word the k-th best sum is guessed.
_SAMPLE = 2_048
# Below this many rows, and above this many candidates, scoring every match is quicker than choosing.
_SMALL = 1_000
_MANY_ROWS = 2_000
# As many are sorted at once.
_FEW_ROWS = 100

_AT_ONCE = 10_000

_scratch = threading.local()


class Segment:
    """
    An immutable inverted index of rows (chunks); safe to search from several threads.

    Attributes:
        words: the vocabulary, each word with its id.
        tokens: the word ids of all rows in order, (n_tokens,).
        offsets: where each row's tokens begin, and the end of the last, (n_rows + 1,).
    """

    def __init__(self, words: dict[str, int], arrays: Mapping[str, Ints]) -> None:
        self.words = words
        self.tokens = arrays["tokens"]
        self.offsets = arrays["offsets"]
        self._arrays = dict(arrays)
        self._starts = arrays["starts"]  # (n_words + 1,) into rows and frequencies
        self._rows = arrays["rows"]  # (n_postings,) ascending within a word
        self._frequencies = arrays["frequencies"]  # (n_postings,)
        self._bounds = arrays["bounds"]  # (n_postings,) the impact, rounded up to steps
        self._highest = arrays["highest"]  # (n_words,) the largest of a word's bounds
        self._dense_at = arrays["dense_at"]  # (n_words,) row in dense, or -1
        self._dense = arrays["dense"]  # (n_common, n_rows) bounds

    @classmethod
    def build(cls, corpus: Iterable[Sequence[str]]) -> Self:
        """
        Index some texts, each given as its words.

        >>> Segment.build([["ant"], ["bee", "cat"], ["dog"]]).top(["bee"], 5)[0].tolist()
        [1]
        """
        ids: defaultdict[str, int] = defaultdict(count().__next__)
        lengths = []

        def numbered() -> Iterator[Sequence[int]]:
            for text in corpus:
                lengths.append(len(text))
                # One call for a text: nearly twice as fast as one for each word.
                yield itemgetter(*text)(ids) if len(text) > 1 else [ids[word] for word in text]

        tokens = np.fromiter(chain.from_iterable(numbered()), dtype=np.int32)
        return cls._of_tokens(dict(ids), tokens, offsets_of(np.array(lengths, dtype=np.int64)))

    @classmethod
    def joined(cls, parts: Sequence[tuple[Self, Ints]], order: Ints | None = None) -> Self:
        """
        The segment of some rows of other segments, at the price of a sort; no text is looked at.

        Args:
            parts: segments and the rows of each.
            order: a permutation of all these rows; None: as given.
        """
        words: dict[str, int] = {}
        pieces, lengths = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int64)]
        for segment, rows in parts:
            tokens = segment.tokens_of(rows)
            used = np.zeros(len(segment.words), dtype=bool)
            used[tokens] = True
            kept = np.flatnonzero(used)
            new_ids = np.zeros(len(used), dtype=np.int32)
            new_ids[kept] = [words.setdefault(segment.names[word], len(words)) for word in kept.tolist()]
            pieces.append(new_ids[tokens])
            lengths.append(segment.offsets[rows + 1] - segment.offsets[rows])
        tokens, offsets = np.concatenate(pieces), offsets_of(np.concatenate(lengths))
        if order is not None:
            tokens, offsets = gathered(tokens, offsets, order), offsets_of(np.diff(offsets)[order])
        return cls._of_tokens(words, tokens, offsets)

    @classmethod
    def _of_tokens(cls, words: dict[str, int], tokens: Ints, offsets: Ints) -> Self:
        n_rows, n_words = len(offsets) - 1, len(words)
        lengths = np.diff(offsets)
        # One sort of (word, row) makes the postings; equal neighbours are counted.
        keys = tokens.astype(np.int64)
        keys <<= 32
        for begin in range(0, n_rows, _AT_ONCE):  # np.repeat holds Python's lock, and everybody waits
            end = min(begin + _AT_ONCE, n_rows)
            rows = np.arange(begin, end, dtype=np.int64)
            keys[offsets[begin] : offsets[end]] |= np.repeat(rows, lengths[begin:end])
        keys.sort()
        first = _first_of_each(keys)
        frequencies = np.empty_like(first)
        np.subtract(first[1:], first[:-1], out=frequencies[:-1])
        frequencies[-1:] = len(keys) - first[-1:]
        keys = keys[first]
        rows = keys.astype(np.int32)
        keys >>= 32
        starts = offsets_of(np.bincount(keys, minlength=n_words))
        del keys
        average = len(tokens) / n_rows if n_rows else 0.0
        arrays = {
            "tokens": tokens,
            "offsets": offsets,
            "starts": starts,
            "rows": rows,
            "frequencies": frequencies.astype(np.min_scalar_type(int(frequencies.max(initial=0)))),
        }
        bounds = _rounded_up(frequencies, lengths.astype(np.float32)[rows], average)
        highest = np.maximum.reduceat(bounds, starts[:-1]) if n_words else bounds
        arrays |= {"bounds": bounds, "highest": highest}
        return cls(words, arrays | _rows_of_common(starts, rows, bounds, n_rows))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def names(self) -> list[str]:
        """The words by id."""
        return list(self.words)

    @cached_property
    def lengths(self) -> Ints:
        """How many words each row has, (n_rows,)."""
        return np.diff(self.offsets)

    @cached_property
    def frequencies(self) -> Ints:
        """In how many rows each word stands, (n_words,)."""
        return np.diff(self._starts)

    @cached_property
    def average(self) -> float:
        """How many words a row has on average."""
        return len(self.tokens) / len(self) if len(self) else 0.0

    @cached_property
    def _common_idf(self) -> float:
        return okapi.common_idf(self.frequencies, len(self))

    def tokens_of(self, rows: Ints) -> Ints:
        """The word ids of some rows, one after the other."""
        return gathered(self.tokens, self.offsets, rows)

    def words_of(self, row: int) -> list[str]:
        """The words of a row, in order."""
        return [self.names[word] for word in self.tokens[self.offsets[row] : self.offsets[row + 1]].tolist()]

    def frequencies_in(self, rows: Ints) -> Ints:
        """In how many of some rows each word stands, (n_words,)."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        keys = np.repeat(np.arange(len(rows), dtype=np.int64), lengths)
        keys |= self.tokens_of(rows).astype(np.int64) << 32
        keys.sort()
        return np.bincount(keys[_first_of_each(keys)] >> 32, minlength=len(self.words))

    def arrays(self) -> dict[str, Ints]:
        """What `restored` needs, to be saved."""
        return self._arrays | Strings.of(self.names).arrays("words")

    @classmethod
    def restored(cls, arrays: Mapping[str, Ints]) -> Self:
        """A segment from its arrays, which may be mapped from a file."""
        names = Strings.restored(arrays, "words").all()
        return cls(dict(zip(names, range(len(names)), strict=True)), arrays)

    def top(self, words: Sequence[str], k: int) -> tuple[Ints, Floats]:
        """
        The best rows for some words by the statistics of this segment alone: rows and scores, best first.

        Only rows that have one of the words are returned; equal scores keep the order of rows.
        """
        asked = []
        start, size = self._starts.item, len(self)
        for at in map(self.words.get, words):
            if at is not None:
                idf = okapi.idf(start(at + 1) - start(at), size)
                asked.append((at, idf if idf >= 0 else self._common_idf))
        return self.best(asked, k, average=self.average)

    def best(
        self,
        asked: Sequence[tuple[int, float]],
        k: int,
        *,
        average: float,
        removed: Ints | None = None,
        rank: Ints | None = None,
    ) -> tuple[Ints, Floats]:
        """
        The best rows for some words of this segment.

        Args:
            asked: id and idf of each word of the question that this segment has, in the question's order.
            k: the most rows to return; at least 1.
            average: how many words a chunk has on average in the whole corpus.
            removed: the rows that do not count; None: all count.
            rank: the order of rows with equal scores, (n_rows,); None: their own.

        Returns:
            Rows and their exact scores, best first.
        """
        if not asked:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        found = None
        if len(self) >= _SMALL and min(idf for _, idf in asked) > 0:
            found = self._from_bounds(asked, k, average, removed)
        rows, scores = found or self._from_all(asked, average, removed)
        if len(rows) > _FEW_ROWS > k:
            enough = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
            rows, scores = rows[enough], scores[enough]
        order = np.lexsort((rows if rank is None else rank[rows], -scores))[:k]
        return rows[order], scores[order]

    def _from_all(
        self, asked: Sequence[tuple[int, float]], average: float, removed: Ints | None
    ) -> tuple[Ints, Floats]:
        # Every row that has one of the words, in order, with its score.
        scores = np.zeros(len(self))
        matched = np.zeros(len(self), dtype=bool)
        for word, idf in asked:
            start, end = self._starts[word], self._starts[word + 1]
            rows = self._rows[start:end].astype(np.intp)
            scores[rows] += idf * okapi.impacts(
                self._frequencies[start:end].astype(np.int64), self.lengths[rows], average
            )
            matched[rows] = True
        if removed is not None:
            matched[removed] = False
        rows = np.flatnonzero(matched)
        return rows, scores[rows]

    def _from_bounds(
        self, asked: Sequence[tuple[int, float]], k: int, average: float, removed: Ints | None
    ) -> tuple[Ints, Floats] | None:
        # Rows among which are the k best, with their scores; None if bounds do not help.
        steps: dict[int, float] = {}
        for word, idf in asked:
            steps[word] = steps.get(word, 0.0) + idf * _STEP
        start, dense_at, highest = self._starts.item, self._dense_at.item, self._highest.item
        rare: list[_Span] = []
        common: list[_Span] = []
        for word, step in steps.items():
            begin = start(word)
            span = (start(word + 1) - begin, begin, word, step)
            (rare if dense_at(word) < 0 else common).append(span)
        rare.sort()
        common.sort()
        if not rare:
            rare, common = common[:1], common[1:]
        # What the words that are not added yet can add to any row.
        rest = sum(step * highest(word) for _, _, word, step in common)
        drift = average / self.average
        certain = min(drift, 1 / drift) * (1 - _ROUNDING)
        error = sum(steps.values())

        memory = _zeros(len(self))
        sums = memory[: len(self)]  # the most that the words added so far can amount to
        if removed is not None:
            sums[removed] = -np.inf
        added = rare
        rows = self._added(sums, added)
        while True:
            sample = _sample(rows, added, k if removed is None else 2 * k + 8)
            needed = 0.0
            if len(sample) >= k:
                needed = (_kth(self._looked_up(sums, sample, common), k) - error) * certain
            if not common or needed > rest:
                break
            more = 0
            while more < len(common) and (rest >= needed > 0 or not more):
                rest -= common[more][3] * highest(common[more][2])
                more += 1
            rows = np.concatenate((rows, self._added(sums, common[:more])))
            added, common = [*added, *common[:more]], common[more:]
        values = sums.take(rows)
        chosen = rows[(values >= max(needed - rest if common else needed, _TINY)).nonzero()[0]]
        if common:
            bound = self._looked_up(sums, chosen, common)
            kept = bound >= needed
            chosen = chosen[kept]
            sums[chosen] = bound[kept]
        chosen = _distinct(chosen)
        if len(chosen) > k + 8:
            bound = sums.take(chosen)
            chosen = chosen[bound >= (_kth(bound, k) - error) * certain]
        sums[rows] = 0
        if removed is not None:
            sums[removed] = 0
        _scratch.zeros = memory
        return None if len(chosen) > _MANY_ROWS else (chosen, self._scores(chosen, asked, average))

    def _looked_up(self, sums: Ints, rows: Ints, common: Sequence[_Span]) -> Ints:
        # The sums of some rows, with what words that are not in the sums add to them.
        bound = sums.take(rows)
        for _, _, word, step in common:
            bound += self._dense[self._dense_at.item(word)].take(rows) * np.float32(step)
        return bound

    def _added(self, sums: Ints, spans: Sequence[_Span]) -> Ints:
        # Add the bounds of some words to the sums; the rows that have one of them, with repetitions.
        rows = np.concatenate([self._rows[start : start + size] for size, start, _, _ in spans], dtype=np.intp)
        bounds = np.concatenate([self._bounds[start : start + size] for size, start, _, _ in spans], dtype=np.float32)
        bounds *= np.array([step for *_, step in spans], dtype=np.float32).repeat([size for size, *_ in spans])
        np.add.at(sums, rows, bounds)
        return rows

    def _scores(self, rows: Ints, asked: Sequence[tuple[int, float]], average: float) -> Floats:
        # Exact; each row has at least one token.
        if not len(rows):
            return np.zeros(0)
        words = list(dict(asked))
        begins, ends = self.offsets.take(rows), self.offsets.take(rows + 1)
        lengths = ends - begins
        edges = lengths.cumsum()
        edges -= lengths
        begins -= edges
        at = begins.repeat(lengths)
        at += np.arange(len(at))
        tokens = self.tokens.take(at)
        is_word = tokens == np.array(words, dtype=np.int32)[:, None]  # (n_words, n_tokens)
        frequency = np.add.reduceat(is_word.view(np.int8), edges, axis=1, dtype=np.int32)  # (n_words, n_rows)
        gains = okapi.impacts(frequency.astype(np.float64), lengths.astype(np.float64), average)
        if len(words) < len(asked):
            place = {word: at for at, word in enumerate(words)}
            gains = gains.take([place[word] for word, _ in asked], axis=0)
        gains *= np.array([[idf] for _, idf in asked])
        # One after the other in the question's order, so that equal texts have equal scores to the last bit.
        scores: Floats = np.add.accumulate(gains, axis=0)[-1]
        return scores


def _first_of_each(ordered: Ints) -> Ints:
    new = np.empty(len(ordered), dtype=bool)
    new[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return np.flatnonzero(new)


def _sample(rows: Ints, spans: Sequence[_Span], enough: int) -> Ints:
    # Rows that the best must reach: those of the first word that has enough of them.
    begin = 0
    for size, *_ in spans:
        if size >= enough:
            return rows[begin : begin + min(size, max(enough, _SAMPLE))]
        begin += size
    return rows[:0]


def _kth(values: Ints, k: int) -> float:
    values = values.copy()
    values.partition(len(values) - k)
    least: float = values.item(len(values) - k)
    return least


def _distinct(rows: Ints) -> Ints:
    rows.sort()
    new = np.empty(len(rows), dtype=bool)
    new[:1] = True
    np.not_equal(rows[1:], rows[:-1], out=new[1:])
    return rows[new]


def _zeros(size: int) -> npt.NDArray[np.float32]:
    # At least so many, and the thread's own until it puts them back as zeros for its next search: clearing all of
    # them each time would cost more than the search.
    kept: npt.NDArray[np.float32] | None = _scratch.__dict__.pop("zeros", None)
    return kept if kept is not None and len(kept) >= size else np.zeros(size, dtype=np.float32)


def _rounded_up(frequency: Ints, lengths: Ints, average: float) -> Ints:
    # In 32 bits, which is much faster; what that may be wrong by is added.
    steps = okapi.impacts(frequency.astype(np.float32), lengths, average)
    steps *= (1 + _ROUNDING / 10) / _STEP
    return np.minimum(np.ceil(steps, out=steps), 255).astype(np.uint8)


def _rows_of_common(starts: Ints, rows: Ints, bounds: Ints, n_rows: int) -> dict[str, Ints]:
    common = np.flatnonzero(np.diff(starts) > max(1, n_rows * _DENSE))
    dense_at = np.full(len(starts) - 1, -1, dtype=np.int32)
    dense_at[common] = np.arange(len(common))
    dense = np.zeros((len(common), n_rows), dtype=np.uint8)
    for row, start, end in zip(dense, starts[common].tolist(), starts[common + 1].tolist(), strict=True):
        row[rows[start:end]] = bounds[start:end]
    return {"dense_at": dense_at, "dense": dense}

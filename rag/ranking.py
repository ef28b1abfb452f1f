"""A second look at the best hits: letters that words share, and how near to each other the question's words stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rag import okapi
from rag.grams import LEAST_LIKENESS, Grams, grams_of, hashes_of
from rag.segment import Segment

Ints = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

# About a sentence, in words without the function words.
_WINDOW = 14


@dataclass(frozen=True)
class Near:
    """
    How near in meaning some chunks are to a question.

    Attributes:
        chunks: of each the mean of two cosines, of the whole chunk and of its nearest sentence, (n_chunks,).
        sentences: of each the cosines of its sentences, in order; empty where they are not known.
    """

    chunks: npt.NDArray[np.float32]
    sentences: Sequence[tuple[float, ...]]


def second_look(
    asked: Sequence[str], parts: Sequence[tuple[Segment, Ints]], *, idf: Callable[[str], float], size: int
) -> tuple[Floats, Floats]:
    """
    Two more scores of some rows for a question.

    Args:
        asked: the question's words.
        parts: the segments of an index, each with the rows to look at.
        idf: how much a word tells.
        size: how many rows there are in the whole index.

    Returns:
        The BM25 of the rows in groups of letters instead of words, which sees that `Normandy` has to do with
        `Norman`; and the share, 0 to 1 by weight, of the question that is in the best stretch of about a sentence,
        where words that look alike count in part. Both (n,), for the rows of all parts one after the other.
    """
    words = list(dict.fromkeys(asked))
    wanted, owner = _wanted(words)  # (n_wanted,), (n_wanted, n_words)
    known = [(segment, grams_of(segment), rows) for segment, rows in parts]
    rows_with = np.minimum(sum((grams.rows_with(wanted) for _, grams, _ in known), np.zeros(len(wanted))), size)
    times = owner @ np.array([Counter(asked)[word] for word in words])
    weights = (np.log(size - rows_with + 0.5) - np.log(rows_with + 0.5)).clip(min=0) * times
    values = np.array([idf(word) + 0.1 for word in words])
    total = sum(len(segment) for segment, _, _ in known) or 1
    average = sum(grams.average * len(segment) for segment, grams, _ in known) / total
    looks = [
        _look(segment, grams, rows, words, wanted, owner, weights, values, average) for segment, grams, rows in known
    ]
    return np.concatenate([letters for letters, _ in looks]), np.concatenate([windows for _, windows in looks])


def closeness(scores: Floats, letters: Floats, windows: Floats, near: npt.NDArray[Any] | None = None) -> Floats:
    """
    One figure for each hit of a question, 0 to 1, of its BM25 score and the two of `second_look`, in equal parts.

    Where it is known how near the hits are in meaning (`Near.chunks`), that counts twice as much as the three together.
    """
    by_words: Floats = (_of_highest(scores) + _of_highest(letters) + windows) / 3
    return by_words if near is None else (by_words + 2 * near.clip(min=0)) / 3


def _of_highest(scores: Floats) -> Floats:
    highest = scores.max()
    return scores / highest if highest > 0 else np.zeros(len(scores))


def _look(
    segment: Segment,
    grams: Grams,
    rows: Ints,
    words: list[str],
    wanted: Ints,
    owner: Floats,
    weights: Floats,
    values: Floats,
    average: float,
) -> tuple[Floats, Floats]:
    if not len(rows):
        return np.zeros(0), np.zeros(0)
    tokens = segment.tokens_of(rows)
    row_of = np.repeat(np.arange(len(rows)), segment.lengths[rows])
    vocabulary, place = np.unique(tokens, return_inverse=True)
    shares = _shared(grams, vocabulary, wanted)  # (n_vocabulary, n_wanted)
    some = np.flatnonzero(shares.any(axis=1))
    at = np.full(len(vocabulary), -1)
    at[some] = np.arange(len(some))
    shares = shares[some]
    which = at[place]
    hit = np.flatnonzero(which >= 0)
    which, where = which[hit], row_of[hit]
    counts = np.bincount(where * len(some) + which, minlength=len(rows) * len(some)).reshape(len(rows), len(some))
    lengths = np.bincount(row_of, weights=np.diff(grams.starts)[tokens], minlength=len(rows))
    letters = okapi.impacts(counts @ shares, lengths[:, None], average) @ weights
    alike = _likeness(segment, grams, words, vocabulary[some], shares @ owner, owner.sum(axis=0))
    return letters, _best_windows(alike[which], hit, where, values, len(rows))


def _wanted(words: list[str]) -> tuple[Ints, Floats]:
    # The distinct groups of the question, in order of their hashes, and which of its words have them.
    hashes, starts = hashes_of(words)
    wanted, place = np.unique(hashes, return_inverse=True)
    owner = np.zeros((len(wanted), len(words)))
    owner[place, np.repeat(np.arange(len(words)), np.diff(starts))] = 1
    return wanted, owner


def _shared(grams: Grams, vocabulary: Ints, wanted: Ints) -> Floats:
    hashes, word = grams.of(vocabulary)
    filter_ = np.zeros(1 << 16, dtype=bool)
    filter_[wanted & 0xFFFF] = True
    likely = np.flatnonzero(filter_[hashes & 0xFFFF])
    place = np.searchsorted(wanted, hashes[likely]).clip(max=len(wanted) - 1)
    sure = wanted[place] == hashes[likely]
    shares = np.zeros((len(vocabulary), len(wanted)))
    shares[word[likely[sure]], place[sure]] = 1
    return shares


def _likeness(
    segment: Segment, grams: Grams, words: list[str], vocabulary: Ints, common: Floats, sizes: Floats
) -> Floats:
    # Dice's coefficient of the groups of two words, (n_vocabulary, n_words); 1 for the same word.
    own = grams.starts[vocabulary + 1] - grams.starts[vocabulary]
    alike: Floats = 2 * common / (own[:, None] + sizes)
    alike[alike < LEAST_LIKENESS] = 0
    for column, word in enumerate(words):
        alike[vocabulary == segment.words.get(word, -1), column] = 1
    return alike


def _best_windows(alike: Floats, position: Ints, where: Ints, values: Floats, n_rows: int) -> Floats:
    # Each hit begins a window; it takes in the later ones while they are near and in the same row.
    best = np.zeros(n_rows)
    near = alike.max(axis=1, initial=0) > 0
    alike, position, where = alike[near], position[near] + where[near] * _WINDOW, where[near]
    covered = alike.copy()
    for step in range(1, min(_WINDOW, len(alike))):
        inside = position[step:] - position[:-step] < _WINDOW
        if not inside.any():
            break
        np.maximum(covered[:-step], alike[step:] * inside[:, None], out=covered[:-step])
    np.maximum.at(best, where, covered @ values / values.sum())
    return best

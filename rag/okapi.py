"""Okapi BM25 with rank-bm25's own parameters: what a word tells, and what its count in a chunk adds to a score."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from rank_bm25 import BM25Okapi

# rank-bm25 gives the parameters, so that its defaults are ours.
_OKAPI = BM25Okapi([["word"]])
K1: float = _OKAPI.k1
B: float = _OKAPI.b
EPSILON: float = _OKAPI.epsilon

#: What no impact reaches, however often a word stands in a chunk.
IMPACT_LIMIT = K1 + 1


def idf(frequency: int, chunks: int) -> float:
    """How much a word tells that `frequency` of `chunks` chunks have; below 0 where more than half have it."""
    return math.log(chunks - frequency + 0.5) - math.log(frequency + 0.5)


def common_idf(frequencies: npt.NDArray[Any], chunks: int) -> float:
    """
    What a word in more than half of the chunks counts for: a share of the vocabulary's average idf.

    The sum does not depend on the order of the words, so an index that grew in steps scores as a fresh one does.

    Args:
        frequencies: in how many chunks each word stands; zeros are not words.
        chunks: how many chunks there are.
    """
    counted = np.bincount(frequencies)
    counted[:1] = 0
    present = np.flatnonzero(counted)
    if not len(present):
        return 0.0
    each = np.log(chunks - present + 0.5) - np.log(present + 0.5)
    return EPSILON * (math.fsum((counted[present] * each).tolist()) / int(counted.sum()))


def impacts(frequency: npt.NDArray[Any], lengths: npt.NDArray[Any], average: float) -> npt.NDArray[np.float64]:
    """
    What a word adds to a score for each unit of its idf: at least 0, below `IMPACT_LIMIT`.

    Args:
        frequency: how often the word stands in each chunk.
        lengths: how many words each chunk has.
        average: how many words a chunk has on average.

    Source: Okapi BM25 as in Trotman et al. (2014), via rank-bm25; its operations in its order, to the last bit.
    """
    gained: npt.NDArray[np.float64] = frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * lengths / average))
    return gained

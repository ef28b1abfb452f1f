"""How likely a draft is right: its signals, weighed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rag.calibration import BIAS, SHIPPED, Calibration
from rag.evidence import Evidence
from rag.signals import LOGPROB, Draft, measure


@dataclass(frozen=True)
class Part:
    """
    One signal's part in a confidence: `value * weight` goes into the sum.

    Attributes:
        name: of the signal.
        value: of the signal for this draft.
        weight: how much it counts, and in which direction.
    """

    name: str
    value: float
    weight: float


@dataclass(frozen=True)
class Confidence:
    """
    How likely a draft is right.

    Attributes:
        value: 0 to 1.
        signal: what it was made of: `logprob+support`, or `support` where the server gave no log-probabilities.
        parts: the signals that it was made of; the first is the constant, `bias`, with the value 1.
    """

    value: float
    signal: str
    parts: tuple[Part, ...] = ()


def judge(
    draft: str,
    question: str,
    evidence: Sequence[Evidence],
    logprobs: Sequence[float] | None,
    *,
    coverage: float = 1.0,
    calibration: Calibration = SHIPPED,
) -> Confidence:
    """
    Score a draft, finished or not: a logistic mix of its signals (see `rag.signals`).

    Args:
        draft: the SLM's text.
        question: as asked.
        evidence: best first.
        logprobs: of the draft's tokens; None if the server gave none.
        coverage: the share of the question's words that the best evidence has, 0 to 1.
        calibration: the weights.
    """
    values = measure(Draft(draft, question, evidence, coverage, logprobs))
    given = LOGPROB in values
    weights = calibration.with_logprobs if given else calibration.without_logprobs
    parts = tuple(Part(name, value, weights.get(name, 0.0)) for name, value in ({BIAS: 1.0} | dict(values)).items())
    value = _logistic(sum(part.value * part.weight for part in parts))
    return Confidence(value, f"{LOGPROB}+support" if given else "support", parts)


def repeats_itself(draft: str, *, words_in_a_row: int = 6) -> bool:
    """
    Whether the draft ends in words that it has said in the same order before.

    Small models fall into loops; each round is as fluent and as well supported as the first, so no other signal
    sees it.

    >>> repeats_itself("Press the red button on the left. Press the red button on the left.")
    True
    """
    said = draft.casefold().split()
    tail = said[-words_in_a_row:]
    rounds = range(len(said) - 2 * words_in_a_row + 1)
    return any(said[at : at + words_in_a_row] == tail for at in rounds)


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, value))))

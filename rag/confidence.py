"""How likely a draft is right: its signals, weighed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rag.calibration import BIAS, SHIPPED, Calibration
from rag.chunking import count_words
from rag.evidence import Cited
from rag.hedging import hedges
from rag.signals import SURENESS, Draft, measure

#: The doubt about a draft that says so.
SAYS_NOTHING = "the draft says that the documents do not say"


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


def judge(draft: Draft, *, calibration: Calibration = SHIPPED) -> Confidence:
    """
    Score a draft, finished or not: a logistic mix of its signals (see `rag.signals`).

    Where the server did not give all that the weights with log-probabilities are for, those without are taken.
    """
    values = measure(draft)
    given = SURENESS & calibration.with_logprobs.keys()
    sure = bool(SURENESS & values.keys()) and given <= values.keys()
    weights = calibration.with_logprobs if sure else calibration.without_logprobs
    parts = tuple(Part(name, value, weights.get(name, 0.0)) for name, value in ({BIAS: 1.0} | dict(values)).items())
    value = _logistic(sum(part.value * part.weight for part in parts))
    return Confidence(value, "logprob+support" if sure else "support", parts)


def doubt_of(draft: Draft, cited: Cited) -> str | None:
    """
    What in a finished draft's words speaks against it whatever its confidence; None if nothing does.

    Words that say that nothing is said are no such thing where the documents bear them out.

    >>> from rag.evidence import cite
    >>> doubt_of(Draft("It is 20 MB.", "How large is it?", ()), cite("It is 20 MB.", ()))
    'the documents do not say 20'
    """
    if cited.is_bare and hedges(draft.head):
        return SAYS_NOTHING
    return f"the documents do not say {draft.invented_numbers[0]}" if draft.invented_numbers else None


def repeats_itself(draft: str, *, words_in_a_row: int = 6) -> bool:
    """
    Whether the draft ends in words that it has said in the same order before.

    Small models fall into loops; each round is as fluent and as well supported as the first, so no other signal
    sees it.

    >>> repeats_itself("Press the red button on the left. Press the red button on the left.")
    True
    """
    said, row = draft.casefold().split(), words_in_a_row
    if count_words(draft) > 2 * len(said):  # a script without spaces: two characters are about a word
        said, row = list("".join(said)), 2 * words_in_a_row
    rounds = range(len(said) - 2 * row + 1)
    return any(said[at : at + row] == said[-row:] for at in rounds)


def _logistic(value: float) -> float:
    # What is no number is no certainty.
    return 0.0 if math.isnan(value) else 1 / (1 + math.exp(-max(-500.0, min(500.0, value))))

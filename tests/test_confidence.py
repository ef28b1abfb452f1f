"""Signals of a draft."""

from __future__ import annotations

import math

import pytest

from rag.chunking import Chunk
from rag.confidence import judge, mean_logprob, repeats_itself, support_by_top
from rag.evidence import sentences_of

EVIDENCE = sentences_of(Chunk("The chat listens on port 8000. The garden needs water.", "x.md"))
QUESTION = "Which port does the chat use?"


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        pytest.param(None, None, id="server gives none"),
        pytest.param([], None, id="no tokens"),
        pytest.param([-1.0, -3.0], -2.0, id="mean"),
        pytest.param([0.0], 0.0, id="certain"),
        pytest.param([-1.0, math.nan], None, id="not a number"),
        pytest.param([0.5], None, id="positive cannot be"),
        pytest.param([-math.inf], None, id="infinite"),
    ],
)
def test_absurd_log_probabilities_are_no_signal(logprobs: list[float] | None, expected: float | None) -> None:
    """A null is not certainty, and neither is a number that cannot be a log-probability."""
    assert mean_logprob(logprobs) == expected


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        pytest.param("It listens on 8000.", 1.0, id="all new words found"),
        pytest.param("Port of the chat.", 0.0, id="only repeats the question"),
        pytest.param("It is 9000.", 0.0, id="none found"),
        pytest.param("It listens in the garden.", 0.5, id="words of another sentence do not count"),
        pytest.param("", 0.0, id="empty"),
    ],
)
def test_support_counts_new_words_in_the_top_sentence(draft: str, expected: float) -> None:
    """Words scattered over several sentences are not support, nor are the question's own."""
    assert support_by_top(draft, QUESTION, EVIDENCE) == expected


def test_the_signal_says_what_the_score_was_made_of() -> None:
    """Without log-probabilities the ladder steps down and says so."""
    assert judge("It listens on 8000.", QUESTION, EVIDENCE, [-0.1]).signal == "logprob+support"
    assert judge("It listens on 8000.", QUESTION, EVIDENCE, None).signal == "support"
    assert judge("It listens on 8000.", QUESTION, EVIDENCE, [math.nan]).signal == "support"


def test_more_support_and_higher_log_probability_mean_more_confidence() -> None:
    """The mix is monotonous in each signal, and stays between 0 and 1."""
    good = judge("It listens on 8000.", QUESTION, EVIDENCE, [-0.1]).value
    unsure = judge("It listens on 8000.", QUESTION, EVIDENCE, [-2.0]).value
    made_up = judge("Monks in Lyon.", QUESTION, EVIDENCE, [-0.1]).value
    assert 0 < made_up < good < 1
    assert unsure < good


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        pytest.param("", False, id="empty"),
        pytest.param("Open the port. Close the port. Open the door.", False, id="similar sentences"),
        pytest.param("a b c d e f a b c d e f", True, id="the same six words twice"),
        pytest.param("a b c d e f x a b c d e", False, id="five are not enough"),
        pytest.param("yes " * 12, True, id="one word"),
    ],
)
def test_a_loop_is_the_same_words_in_the_same_order_again(draft: str, expected: bool) -> None:
    """Six words in a row at the end that were said before."""
    assert repeats_itself(draft) is expected

"""The rules around the judging, without any model."""

from __future__ import annotations

import pytest

from rag.rules import (
    Ledger,
    Rules,
    below,
    reason_not_to_escalate,
    reason_to_skip_the_draft,
    rounded_down,
    would_keep,
)

QUESTION = "Which torque does the Flange need?"


@pytest.mark.parametrize(
    ("rules", "coverage", "reason"),
    [
        pytest.param(Rules(), 0.0, None, id="switched off"),
        pytest.param(Rules(weak_coverage=0.40), 0.40, None, id="exactly at the threshold"),
        pytest.param(
            Rules(weak_coverage=0.40), 0.399, "weak evidence: 0.39 < 0.40 of the question's words", id="just below"
        ),
        pytest.param(Rules(topics=("garden", "FLANGE")), 1.0, "flagged topic: FLANGE", id="topic, any case"),
        pytest.param(Rules(topics=(r"\bflan\b",)), 1.0, None, id="not within a word, if the pattern says so"),
        pytest.param(Rules(escalate="always"), 1.0, "every question is escalated (RAG_ESCALATE)", id="always"),
        pytest.param(Rules(escalate="never"), 0.0, None, id="never"),
        pytest.param(Rules(topics=("flange",), weak_coverage=0.4), 0.1, "flagged topic: flange", id="topic first"),
    ],
)
def test_what_goes_to_the_large_model_without_a_draft(rules: Rules, coverage: float, reason: str | None) -> None:
    """Every question, a flagged topic, or weak evidence; the sentence has the numbers."""
    assert reason_to_skip_the_draft(QUESTION, coverage, rules) == reason


@pytest.mark.parametrize(
    ("rules", "known", "reason"),
    [
        pytest.param(Rules(), {"in_last_minute": 99, "in_chat": 99, "ttft_s": 99.0}, None, id="no limit"),
        pytest.param(Rules(per_minute=5), {"in_last_minute": 4}, None, id="one left in the minute"),
        pytest.param(
            Rules(per_minute=5), {"in_last_minute": 5}, "limit of 5 escalations a minute reached", id="minute"
        ),
        pytest.param(Rules(per_chat=1), {"in_chat": 0}, None, id="one left in the chat"),
        pytest.param(Rules(per_chat=1), {"in_chat": 1}, "limit of 1 escalation in a chat reached", id="chat"),
        pytest.param(Rules(ttft_budget_s=1), {"ttft_s": None}, None, id="speed not known"),
        pytest.param(Rules(ttft_budget_s=1), {"ttft_s": 1.0}, None, id="exactly the budget"),
        pytest.param(
            Rules(ttft_budget_s=1),
            {"ttft_s": 2.3},
            "the large model needs 2,300 ms to its first word, the budget is 1,000",
            id="too slow",
        ),
        pytest.param(
            Rules(ttft_budget_s=1),
            {"ttft_s": 1.0002},
            "the large model needs 1,001 ms to its first word, the budget is 1,000",
            id="just too slow, never shown as equal",
        ),
        pytest.param(Rules(escalate="never"), {}, "escalation is switched off (RAG_ESCALATE)", id="never"),
    ],
)
def test_what_forbids_an_escalation(rules: Rules, known: dict[str, float], reason: str | None) -> None:
    """A limit of 5 lets 5 through; what is not known forbids nothing."""
    assert reason_not_to_escalate(rules, **known) == reason  # type: ignore[arg-type]


def test_a_minute_is_sixty_seconds_and_then_over() -> None:
    """An escalation counts for the 60 seconds after it, and for its chat for ever."""
    ledger = Ledger()
    ledger.escalated(at=0.0)
    ledger.escalated(at=30.0)
    assert [ledger.in_last_minute(now=now) for now in (59.9, 60.0, 90.0)] == [2, 1, 0]
    assert ledger.count == 2


def test_the_usual_wait_is_the_median_of_the_last_five() -> None:
    """Two say nothing, one slow answer does not change it, and the sixth pushes the first out."""
    ledger = Ledger()
    seen = []
    for seconds in (9.0, 1.0, 2.0, 1.0, 1.0, 3.0, 3.0):
        ledger.saw_ttft(seconds, at=0.0)
        seen.append(ledger.usual_ttft_s(now=0.0))
    assert seen == [None, None, 2.0, 1.5, 1.0, 1.0, 2.0]


def test_a_slow_model_is_tried_again_after_a_while() -> None:
    """Nobody would ever find out otherwise that it is quick by now."""
    ledger = Ledger()
    for at in (0.0, 1.0, 2.0):
        ledger.saw_ttft(9.0, at=at)
    assert ledger.usual_ttft_s(now=299.0) == 9.0
    assert ledger.usual_ttft_s(now=300.0) is None


@pytest.mark.parametrize(
    ("value", "threshold"), [(0.31, 0.30), (0.58, 0.55), (0.60, 0.60), (0.15, 0.15), (0.0499, 0.0), (1.0, 1.0)]
)
def test_the_round_threshold_keeps_and_the_next_one_does_not(value: float, threshold: float) -> None:
    """In steps of 0.05, the highest that is not above the confidence."""
    assert would_keep(value) == threshold
    assert threshold <= value < threshold + 0.05


def test_numbers_are_rounded_down_and_no_further() -> None:
    """0.599 is not 0.60, but 0.29 is not 0.28 either, whatever its bits are."""
    assert [rounded_down(value) for value in (0.599, 0.29, 0.57, 1.0)] == [0.59, 0.29, 0.57, 1.0]
    assert rounded_down(0.5996, 3) == 0.599
    assert below(0.599, 0.6) == "0.59 < 0.60"

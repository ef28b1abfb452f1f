"""The figures of an evaluation, on rows made by hand with results worked out on paper."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.errors import QuestionError
from rag.workbench.comparison import Earlier, compared, flat, lines, read_earlier
from rag.workbench.curve import apgr, baselines, replaced_in_order, saved_at
from rag.workbench.figures import ORACLE, auroc, calibration_error, coverage_at, orders, qualities, summed_up
from rag.workbench.intervals import interval, interval_of, interval_of_difference, mean, ratio
from rag.workbench.rows import Row

PLAIN = Row(
    question="?",
    answers=["gold"],
    document="",
    answerable=True,
    route="slm",
    reason=None,
    status="complete",
    answer="It is gold. [1]",
    draft="It is gold.",
    stopped=False,
    draft_right=True,
    answer_right=True,
    quote_right=True,
    f1=0.5,
    confidence=0.9,
    signal="support",
    signals={},
    unsupported=0,
    citations=[],
    ttft_ms=100.0,
    total_ms=200.0,
    tokens={"prompt": 10, "completion": 3},
    history=[],
    false_premise=False,
    abstained=False,
    confidence_without_logprobs=0.8,
    sentences=1,
    cited=1,
    cited_right=1,
    answer_relevancy=None,
    faithfulness=None,
    context_precision=None,
    large=None,
    large_right=None,
)


def made(**values: Any) -> Row:
    """A row that differs from the plain one in these values; right is the draft, kept or not, and so is the answer."""
    if "right" in values:
        values["draft_right"] = values["answer_right"] = values.pop("right")
    if values.get("answers") == []:
        values = {"answerable": False, "draft_right": False, "answer_right": False, "f1": None, **values}
    return replace(PLAIN, **values)


def judged(*pairs: tuple[float | None, bool]) -> list[Row]:
    """Rows with these confidences, right or wrong."""
    return [made(question=f"{at}?", confidence=value, right=right) for at, (value, right) in enumerate(pairs)]


# --- Ranking and calibration -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "right", "area"),
    [
        pytest.param([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0, id="parted"),
        pytest.param([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0, id="the wrong way round"),
        pytest.param([0.5, 0.5, 0.5], [0, 1, 1], 0.5, id="all tied"),
        pytest.param([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75, id="three of four pairs"),
        pytest.param([0.3, 0.5, 0.5, 0.7], [0, 0, 1, 1], 0.875, id="one pair tied"),
        pytest.param([0.3, 0.5], [1, 1], None, id="one class"),
        pytest.param([], [], None, id="nothing"),
    ],
)
def test_auroc_is_the_share_of_pairs_in_the_right_order(
    values: list[float], right: list[float], area: float | None
) -> None:
    """Ties count half; without both a right and a wrong one there is no pair."""
    assert auroc(np.array(values), np.array(right, dtype=float)) == area


def test_a_signal_is_measured_over_the_drafts_that_have_it() -> None:
    """Neither None nor NaN counts; nor does a row without a draft."""
    rows = [
        made(signals={"logprob": -0.1}),
        made(signals={"logprob": math.nan}),
        made(signals={}, right=False),
        made(signals={"logprob": -2.0}, right=False),
        made(signals={"logprob": -9.0}, draft=None, right=False),
    ]
    values, right = orders(rows)["logprob"]
    assert (values.tolist(), right.tolist()) == ([-0.1, -2.0], [1.0, 0.0])
    assert len(orders(rows)["length"][0]) == 4


def test_a_draft_for_a_question_without_an_answer_is_wrong() -> None:
    """Else a confident answer to what nobody wrote would count for nothing."""
    assert orders([made(answers=[])])["confidence"][1].tolist() == [0.0]


def test_the_calibration_error_is_the_weighted_gap_of_ten_bins() -> None:
    """Bins 0.8-0.9: mean 0.85, half right, gap 0.35 of 2 rows; 0.1-0.2: gap 0.1 of 1; 1.0 lies in the last, gap 0."""
    rows = judged((0.82, True), (0.88, False), (0.1, False), (1.0, True))
    assert calibration_error(rows) == pytest.approx((0.35 * 2 + 0.1 + 0.0) / 4)
    assert calibration_error(judged((0.3, False), (0.39, True))) == pytest.approx(0.5 - 0.345)
    assert calibration_error(judged((None, True), (math.nan, True))) is None


@pytest.mark.parametrize(
    ("pairs", "share"),
    [
        pytest.param([(0.9 - at / 100, at != 9) for at in range(20)], 1.0, id="19 of 20 right"),
        pytest.param([(0.9 - at / 100, at < 9) for at in range(20)], 0.5, id="nine right, then wrong ones"),
        pytest.param([(0.9, False), (0.8, True), (0.7, True)], 0.0, id="the surest is wrong"),
        pytest.param([(0.9, True), (0.5, True), (0.5, False)], 1 / 3, id="a tie is kept whole or not at all"),
        pytest.param([(0.9, True), (None, True)], 0.5, id="what has no confidence cannot be kept"),
        pytest.param([(None, True)], None, id="none was judged"),
    ],
)
def test_coverage_is_what_a_threshold_keeps_with_nine_in_ten_right(
    pairs: list[tuple[float | None, bool]], share: float | None
) -> None:
    """Of the answerable questions."""
    found = coverage_at(0.9, judged(*pairs))
    assert found == (None if share is None else pytest.approx(share))


def test_unanswerable_questions_are_no_part_of_the_coverage() -> None:
    """They are measured by `abstention`."""
    assert coverage_at(0.9, [made(), made(answers=[], confidence=0.99)]) == 1.0


# --- The cost-quality curve ------------------------------------------------------------------------------

DRAFT = np.array([0.0, 1.0, 0.0, 1.0])
ALL_RIGHT = np.ones(4)


def test_the_curve_rises_where_wrong_drafts_are_replaced() -> None:
    """The two wrong ones first: quality 0.5, 0.75, 1, 1, 1 at shares of 0 to 1."""
    curve = replaced_in_order(DRAFT, ALL_RIGHT, np.array([0.1, 0.8, 0.2, 0.9]))
    assert curve.cost.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert curve.quality.tolist() == [0.5, 0.75, 1.0, 1.0, 1.0]
    assert curve.area == pytest.approx(0.875)
    assert curve.cost_of(0.9) == pytest.approx(0.4)
    assert (curve.cost_of(0.5), curve.cost_of(0.2), curve.cost_of(1.1)) == (0.0, 0.0, None)


@pytest.mark.parametrize(
    ("score", "area"),
    [
        pytest.param([0.1, 0.8, 0.2, 0.9], 1.0, id="perfect"),
        pytest.param([0.9, 0.2, 0.8, 0.1], 0.0, id="reversed"),
        pytest.param([0.5, 0.5, 0.5, 0.5], 0.5, id="all tied is a random order"),
        pytest.param([0.1, 0.4, 0.6, 0.8], 0.75, id="one pair of four wrong"),
        pytest.param([0.1, 0.6, 0.6, 0.8], 0.875, id="one pair tied"),
    ],
)
def test_apgr_is_a_half_at_random_and_one_for_the_perfect_order(score: list[float], area: float) -> None:
    """And, where what replaces a draft is always right, the AUROC of the score."""
    scores = np.array(score)
    assert apgr(DRAFT, ALL_RIGHT, scores) == pytest.approx(area)
    assert auroc(scores, DRAFT) == pytest.approx(area)


def test_apgr_counts_what_the_large_model_makes_worse() -> None:
    """Gains 1, -1, 0, worked out: best order first gain, then the equal one, then the loss."""
    draft, large = np.array([0.0, 1.0, 1.0]), np.array([1.0, 0.0, 1.0])
    assert apgr(draft, large, np.array([0.1, 0.9, 0.5])) == pytest.approx(1.0)
    assert apgr(draft, large, np.array([0.9, 0.1, 0.5])) == pytest.approx(0.0)
    assert apgr(draft, large, np.array([0.1, 0.5, 0.9])) == pytest.approx(0.75)


def test_apgr_has_no_value_where_no_order_is_better() -> None:
    """All drafts right, all wrong, or none."""
    for draft in (np.ones(3), np.zeros(3), np.zeros(0)):
        assert apgr(draft, np.ones(len(draft)), np.arange(len(draft), dtype=float)) is None


def test_saved_escalations_are_against_a_random_order_of_the_same_quality() -> None:
    """0.95 needs 0.4 / 0.5 of the way up to share 0.5: 0.45; at random 0.9 of all."""
    perfect, reverse = np.array([0.1, 0.8, 0.2, 0.9]), np.array([0.9, 0.2, 0.8, 0.1])
    assert saved_at(0.95, DRAFT, ALL_RIGHT, perfect) == pytest.approx(1 - 0.45 / 0.9)
    assert saved_at(0.95, DRAFT, ALL_RIGHT, np.zeros(4)) == pytest.approx(0.0)
    assert saved_at(0.95, DRAFT, ALL_RIGHT, reverse) == pytest.approx(1 - 0.95 / 0.9)


@pytest.mark.parametrize(
    ("draft", "large"),
    [
        pytest.param(np.ones(4), np.ones(4), id="nothing to gain"),
        pytest.param(DRAFT, np.zeros(4), id="the large model is worse"),
        pytest.param(np.array([1.0] * 39 + [0.0]), np.ones(40), id="the drafts are good enough"),
        pytest.param(np.zeros(0), np.zeros(0), id="no drafts"),
    ],
)
def test_nothing_can_be_saved_where_nothing_is_needed(draft: Any, large: Any) -> None:
    """None, not a division by zero."""
    assert saved_at(0.95, draft, large, np.arange(len(draft), dtype=float)) is None


def test_baselines_stand_beside_a_score() -> None:
    """Random orders scatter around a half, the oracle is perfect, and a good score lies above chance."""
    draft = np.array([0.0, 1.0] * 50)
    found = baselines(draft, np.ones(100), {"score": draft + np.linspace(0, 1.2, 100)})
    assert (found["random"]["apgr"], found["oracle"]["apgr"]) == (0.5, 1.0)
    low, high = found["random"]["interval"]
    assert 0.35 < low < 0.5 < high < 0.65
    assert found["score"]["interval"][0] > high
    assert found["oracle"]["saved"] > found["score"]["saved"] > 0 == pytest.approx(found["random"]["saved"])


def test_a_right_silence_is_worth_as_much_as_a_right_answer_on_the_curve() -> None:
    """A draft that says that the documents do not say needs no large model where they do not."""
    silent, talking = "The context does not mention it.", "It is gold."
    rows = [made(answers=[], draft=silent), made(answers=[], draft=talking), made(), made(draft=None, confidence=None)]
    draft, large = qualities(rows, oracle=True)
    assert (draft.tolist(), large.tolist()) == ([1, 0, 1], [1, 1, 1])
    asked = [made(large="gold", large_right=True), made(large="lead", large_right=False), made(large=None)]
    draft, large = qualities(asked, oracle=False)
    assert (draft.tolist(), large.tolist()) == ([1, 1], [1, 0])


# --- Shares, means and their intervals -------------------------------------------------------------------


def test_each_share_has_its_own_bottom() -> None:
    """Five questions, worked out by hand."""
    rows = [
        made(question="kept"),
        made(question="quoted", route="quoted", draft_right=False, f1=0.25, sentences=2, cited=2, cited_right=1),
        made(question="wrong", route="escalated", right=False, stopped=True, quote_right=False, f1=0.0, cited=0,
             cited_right=0),
        made(question="silent", answers=[], route="abstained", abstained=True, draft=None, confidence=None,
             sentences=0, cited=0, cited_right=0, ttft_ms=None, tokens=None, false_premise=True),
        made(question="talks", answers=[], sentences=1, cited=0, cited_right=0, false_premise=True, quote_right=False),
        made(question="shy", route="abstained", abstained=True, right=False, f1=0.0, draft=None, confidence=None,
             sentences=0, cited=0, cited_right=0),
    ]  # fmt: skip
    figures = summed_up(rows)
    assert (figures["questions"], figures["answerable"]) == (6, 4)
    assert (figures["answer_contains"], figures["draft_contains"], figures["quote_contains"]) == (0.5, 0.25, 0.75)
    assert figures["f1"] == pytest.approx((0.5 + 0.25) / 4, abs=1e-4)
    assert figures["abstention"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert figures["false_premise"] == 0.5
    assert figures["escalation_rate"] == pytest.approx(2 / 6, abs=1e-4)
    assert figures["drafts_stopped"] == 0.25
    assert figures["routes"] == {"abstained": 2, "escalated": 1, "quoted": 1, "slm": 2}
    assert (figures["supported_sentences"], figures["citation_precision"]) == (0.6, pytest.approx(2 / 3, abs=1e-4))
    assert figures["tokens"] == {"prompt": 50, "completion": 15}
    assert (figures["ttft_ms_p50"], figures["total_ms_p95"]) == (100.0, 200.0)
    assert figures["large_model"] == ORACLE
    assert figures["auroc"]["logprob"] is None
    assert figures["answer_relevancy"] is None
    assert "answer_relevancy" not in figures["intervals"]
    low, high = figures["intervals"]["answer_contains"]
    assert low < 0.5 < high


def test_one_row_alone_has_figures() -> None:
    """Where there is no pair and no threshold, there is None; never a crash."""
    figures = summed_up([made(answers=[], draft=None, confidence=None, route="llm")], large_model="big")
    assert (figures["answer_contains"], figures["draft_contains"], figures["apgr"], figures["ece"]) == (None,) * 4
    assert figures["abstention"] == {"precision": None, "recall": 0.0, "f1": 0.0}
    assert "false_premise" not in figures
    assert figures["large_model"] == "big"
    with pytest.raises(ValueError, match="was: none"):
        summed_up([])


def test_without_a_draft_in_the_whole_run_nothing_is_said_of_drafts() -> None:
    """Mode `llm`: 0 would read as a bad model."""
    assert summed_up([made(draft=None, draft_right=False, confidence=None, route="llm")])["draft_contains"] is None


def test_an_interval_is_that_of_a_mean() -> None:
    """Half of 400 right: 0.5 ± 1.96 · 0.025, the same each time; no row, no interval."""
    half = mean([0.0, 1.0] * 200)
    low, high = interval(half) or (0, 0)
    assert low == pytest.approx(0.451, abs=0.008)
    assert high == pytest.approx(0.549, abs=0.008)
    assert interval(half) == (low, high)
    assert interval(mean([])) is None
    assert interval(mean([None, math.nan])) is None
    assert interval(mean([1.0])) == (1.0, 1.0)
    assert ratio([1, 2], [2, 2]).value == 0.75
    assert interval_of(lambda at: None, 3) is None
    assert interval_of(lambda at: float(at.mean()), 0) is None


def test_pairs_tell_more_than_two_intervals() -> None:
    """Six of a hundred got better and none worse: surely not worse, though each interval is 0.2 wide."""
    old = [float(at % 2) for at in range(100)]
    new = [1.0 if at in (0, 2, 4, 6, 8, 10) else value for at, value in enumerate(old)]
    low, high = interval_of_difference(mean(new), mean(old)) or (0, 0)
    assert 0 < low < 0.06 < high < 0.13
    with pytest.raises(ValueError, match=r"needed \(99\), was: 100"):
        interval_of_difference(mean(new), mean(old[1:]))


# --- Against an earlier run ------------------------------------------------------------------------------


def test_two_runs_are_compared_over_the_questions_of_both() -> None:
    """The figures of each over all of its own, and pairs over what both have."""
    old = judged((0.9, True), (0.8, False), (0.7, False))
    new = [*judged((0.9, True), (0.8, True)), made(question="new?")]
    found = compared(new, summed_up(new), Earlier(summed_up(old), tuple(old)))
    assert found["earlier"]["answer_contains"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["difference"]["answer_contains"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["paired"]["questions"] == 2
    assert found["paired"]["difference"]["answer_contains"] == 0.5
    assert found["paired"]["intervals"]["answer_contains"] == [0.0, 1.0]
    assert compared(new, summed_up(new), Earlier(summed_up(old)))["paired"] is None


def test_a_question_with_other_answers_is_no_pair() -> None:
    """What was wrong and is right by now may only be judged otherwise."""
    found = compared([made()], summed_up([made()]), Earlier(summed_up([made()]), (made(answers=["lead"]),)))
    assert found["paired"] is None


def test_figures_are_lines_with_what_was_before() -> None:
    """A name, the figure, its interval, and the change."""
    old, new = judged((0.9, True), (0.8, False)), judged((0.9, True), (0.8, True))
    figures = summed_up(new)
    (line,) = [one for one in lines(figures) if one.startswith("answer_contains")]
    assert line.split() == ["answer_contains", "1", "[1.000,", "1.000]"]
    both = {**figures, "against": compared(new, figures, Earlier(summed_up(old), tuple(old)))}
    (line,) = [one for one in lines(both) if one.startswith("answer_contains")]
    assert line.split()[4:] == ["was", "0.5", "+0.5", "of", "both", "+0.5", "[0.000,", "1.000]"]
    assert lines(both)[-1] == "'of both' is paired over the 2 questions that both asked."
    assert flat(both) == flat(figures)
    assert lines({"total_ms_p95": 12345.678, "f1": 0.12345, "apgr": None}) == [
        "total_ms_p95                        12345.7", "f1                                   0.1235",
        "apgr                                      –",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(None, "cannot be compared with", id="missing"),
        pytest.param("no JSON", "cannot be compared with", id="no JSON"),
        pytest.param('{"answer_recall@1": 1}', "is neither the --json output of eval nor a trace", id="of the search"),
        pytest.param("[]", "is neither the --json output of eval nor a trace", id="a list"),
    ],
)
def test_what_cannot_be_compared_with_is_a_sentence(tmp_path: Path, content: str | None, sentence: str) -> None:
    """Said before the first question is asked."""
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(QuestionError, match=sentence):
        read_earlier(path)

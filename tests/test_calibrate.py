"""What becomes of judged drafts: weights, a threshold, tables and a drawing; the drafts are made by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from rag.calibration import SHIPPED, read_calibration, write_calibration
from rag.errors import CalibrationError
from rag.settings import Settings
from rag.workbench.calibrate import (
    Result,
    calibrated,
    cheapest_threshold,
    judged,
    refuse_few,
    refuse_unwritable,
    settings_for,
)
from rag.workbench.drawing import drawn, tables
from rag.workbench.figures import ORACLE
from rag.workbench.mix import Folds, best_mix
from rag.workbench.rows import Row
from tests.test_evaluate_figures import made

LOGPROB = "logprob"
NAMES = [name for name in SHIPPED.without_logprobs if name != "bias"]
RIGHT_ONLY = {"helps": 3.0, "misleads": -3.0}


def drafts(
    count: int = 600, *, weights: dict[str, float] | None = None, logprobs: bool = True, documents: int = 12
) -> list[Row]:
    """Rows whose drafts are right with the chance that these weights of their signals give; all else is noise."""
    random = np.random.default_rng(3)
    weights = RIGHT_ONLY if weights is None else weights
    rows = []
    for at in range(count):
        signals = {name: float(random.normal()) for name in dict.fromkeys([*NAMES, *RIGHT_ONLY])}
        if logprobs:
            signals[LOGPROB] = -float(random.random())
        chance = 1 / (1 + math.exp(-sum(weight * signals.get(name, 1.0) for name, weight in weights.items())))
        rows.append(
            made(
                question=f"{at}?",
                document=f"{at % documents}.md",
                draft="word " * int(random.integers(1, 20)),
                right=bool(random.random() < chance),
                signals={"bias": 1.0, **signals},
            )
        )
    return rows


def result(rows: Sequence[Row], *, large_model: str | None = None, target: float = 0.95) -> Result:
    """The calibration of these rows."""
    return calibrated(judged(rows, oracle=large_model is None), model="m", large_model=large_model, target=target)


@pytest.fixture(scope="module")
def good() -> Result:
    """Of drafts that are right because of signals that the shipped weights do not have."""
    return result(drafts())


# --- Which weights ---------------------------------------------------------------------------------------


def test_better_weights_take_the_place_of_the_shipped_ones(good: Result) -> None:
    """Their signs are those of the truth, and they tell more than the length does."""
    for weights in (good.calibration.with_logprobs, good.calibration.without_logprobs):
        assert weights["helps"] > 1.5
        assert weights["misleads"] < -1.5
    assert set(good.calibration.with_logprobs) - set(good.calibration.without_logprobs) == {LOGPROB}
    figures = good.figures
    assert figures["with_logprobs"]["kind"] == figures["without_logprobs"]["kind"] == "fitted"
    assert figures["auroc"]["calibrated"]["interval"][0] > figures["auroc"]["length"]["interval"][1]
    assert figures["orders"]["calibrated"]["apgr"] > figures["orders"]["random"]["apgr"]
    assert figures["ece"]["calibrated"] < figures["ece"]["default"]
    assert figures["held_out"] == {"by": "documents", "folds": 12}


def test_weights_that_are_not_better_beyond_chance_do_not() -> None:
    """The shipped ones are kept among each other, and said to be."""
    size = math.hypot(*(SHIPPED.without_logprobs[name] for name in NAMES))
    truth = {name: weight * 2 / size for name, weight in SHIPPED.without_logprobs.items()} | {"bias": 0.0}
    found = result(drafts(weights=truth))
    assert found.figures["without_logprobs"]["kind"] == "rescaled"
    new = found.calibration.without_logprobs
    assert set(new) == set(SHIPPED.without_logprobs)
    scales = [new[name] / weight for name, weight in SHIPPED.without_logprobs.items() if name != "bias" and weight]
    assert scales == pytest.approx([scales[0]] * len(scales), rel=0.01)
    assert scales[0] == pytest.approx(2 / size, rel=0.25)
    assert "new ones are not better beyond chance" in "\n".join(tables(found.figures))


def test_without_log_probabilities_the_shipped_weights_for_them_stay() -> None:
    """Nothing is known of them; the others are fitted."""
    found = result(drafts(logprobs=False))
    assert dict(found.calibration.with_logprobs) == dict(SHIPPED.with_logprobs)
    assert found.figures["with_logprobs"]["kind"] == "shipped"
    assert found.figures["without_logprobs"]["kind"] == "fitted"
    assert "With log-probabilities: the shipped weights as they are, as 0 drafts have them" in tables(found.figures)[3]


def test_a_draft_that_has_log_probabilities_is_scored_with_them() -> None:
    """Here nothing else tells; those that have none cannot be ordered."""
    truth = {LOGPROB: 20.0, "bias": 10.0}
    rows = drafts(400, weights=truth)
    assert result(rows).figures["auroc"]["calibrated"]["value"] > 0.9
    blind = [made(**{**vars(row), "signals": {"bias": 1.0, **dict.fromkeys(NAMES, 0.5)}}) for row in rows]
    assert result(blind).figures["auroc"]["calibrated"]["value"] < 0.6


def test_few_drafts_with_log_probabilities_are_not_fitted_to() -> None:
    """A server that gives them now and then."""
    rows = [*drafts(40), *drafts(600, logprobs=False)]
    assert result(rows).figures["with_logprobs"]["kind"] == "shipped"


def test_a_mix_without_drafts_is_the_shipped_one() -> None:
    """No division by none of them."""
    nothing = np.zeros(0)
    mix = best_mix({"support": nothing}, nothing, Folds(np.zeros(0, dtype=int), 5, "questions"), {"bias": 1.0})
    assert (mix.kind, mix.weights, len(mix.scores)) == ("shipped", {"bias": 1.0}, 0)


# --- The threshold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draft", "large", "score", "target", "threshold"),
    [
        pytest.param([0, 0, 1, 1], [1, 1, 1, 1], [0.1, 0.3, 0.5, 0.9], 1.0, 0.4, id="both wrong ones"),
        pytest.param([0, 0, 1, 1], [1, 1, 1, 1], [0.1, 0.3, 0.5, 0.9], 0.75, 0.2, id="one is enough"),
        pytest.param([0, 0, 1, 1], [1, 1, 1, 1], [0.1, 0.3, 0.5, 0.9], 0.5, 0.0, id="none need be replaced"),
        pytest.param([1, 1, 1, 0], [1, 1, 1, 1], [0.1, 0.3, 0.5, 0.9], 1.0, 1.0, id="all must be replaced"),
        pytest.param([0, 0, 1, 1], [1, 1, 1, 1], [0.3, 0.3, 0.5, 0.9], 0.75, 0.4, id="equal scores go together"),
        pytest.param([0, 0, 1, 1], [1, 0, 1, 1], [0.1, 0.3, 0.5, 0.9], 1.0, 0.2, id="as good as a faulty large one"),
        pytest.param([1, 1, 1, 1], [0, 0, 0, 1], [0.1, 0.3, 0.5, 0.9], 1.0, 0.0, id="a large one that is worse"),
        pytest.param([0, 1, 1, 1], [1, 1, 1, 1], [0.501, 0.504, 0.6, 0.7], 1.0, 0.502, id="as few decimals as part"),
    ],
)
def test_the_threshold_replaces_the_fewest_for_the_target(
    draft: list[float], large: list[float], score: list[float], target: float, threshold: float
) -> None:
    """One exactly at it is kept."""
    found = cheapest_threshold(np.array(draft, float), np.array(large, float), np.array(score), target=target)
    assert found == threshold


def test_the_router_at_the_threshold_reaches_the_target(good: Result) -> None:
    """And a bit lower it does not: fewer would not be enough."""
    at = good.figures["routers"]["calibrated"]
    assert at["threshold"] == good.calibration.threshold == good.figures["threshold"]
    assert 0.95 <= at["right"] < 0.955
    assert at["escalated"] == pytest.approx(good.figures["orders"]["calibrated"]["escalated_for_target"], abs=0.005)
    assert at["escalated"] < good.figures["orders"]["random"]["escalated_for_target"]
    assert at["interval"][0] < at["right"] < at["interval"][1]


# --- What is fitted to -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        pytest.param(25, 24, "there are 49 judged drafts, and at least 50 are needed", id="few"),
        pytest.param(14, 60, "14 of the 74 judged drafts are right, and at least 15", id="few right"),
        pytest.param(60, 14, "14 of the 74 judged drafts are wrong, and at least 15", id="few wrong"),
        pytest.param(0, 0, "there are 0 judged drafts", id="none"),
        pytest.param(35, 15, "", id="just enough"),
    ],
)
def test_too_few_drafts_are_refused_with_their_number(right: int, wrong: int, words: str) -> None:
    """A fit to them would be chance."""
    rows = [
        made(question=f"{at}?", right=at < right, signals={"bias": 1.0, **dict.fromkeys(NAMES, 0.5)})
        for at in range(right + wrong)
    ]
    if words:
        with pytest.raises(CalibrationError, match=words):
            judged(rows, oracle=True)
    else:
        assert len(judged(rows, oracle=True).draft) == right + wrong


def test_only_whole_judged_drafts_with_a_known_replacement_count() -> None:
    """Neither abstentions nor stopped drafts; with a large model, only what it answered too."""
    rows = drafts(100)
    odd = [
        made(draft=None, confidence=None),
        made(draft="", confidence=None),
        made(stopped=True, signals=rows[0].signals),
        made(signals={}),
    ]
    assert len(judged([*rows, *odd], oracle=True).rows) == 100
    answered = [made(**{**vars(row), "large": "gold", "large_right": True}) for row in rows[:80]]
    assert len(judged([*answered, *rows[80:]], oracle=False).rows) == 80


def test_a_draft_that_rightly_says_that_the_documents_do_not_say_is_right() -> None:
    """Nothing better can be had by escalating it."""
    silent = made(answers=[], draft="The context does not mention it.", signals=drafts(1)[0].signals)
    made_up = made(answers=[], draft="It is gold.", signals=drafts(1)[0].signals)
    found = judged([*drafts(100), silent, made_up], oracle=True)
    assert list(found.draft[-2:]) == [1.0, 0.0]
    assert list(found.large[-2:]) == [1.0, 1.0]


def test_rows_of_an_older_program_are_refused() -> None:
    """Their drafts have no value for a signal that counts."""
    rows = [
        made(**{**vars(row), "signals": {name: one for name, one in row.signals.items() if name != NAMES[0]}})
        for row in drafts(100)
    ]
    with pytest.raises(CalibrationError, match=f"have no {NAMES[0]}: an older program"):
        judged(rows, oracle=True)


def test_the_large_model_is_measured_where_there_is_one() -> None:
    """It is not always right, and the threshold aims at what it reaches."""
    rows = [
        made(**{**vars(row), "large": "It is so.", "large_right": at % 5 > 0}) for at, row in enumerate(drafts(500))
    ]
    figures = result(rows, large_model="big", target=0.9).figures
    assert figures["large_model"] == "big"
    assert figures["routers"]["always large"]["right"] == 0.8
    assert 0.72 <= figures["routers"]["calibrated"]["right"] < 0.73  # 0.9 of 0.8
    assert ORACLE not in "\n".join(tables(figures)) + drawn(figures)


def test_what_the_router_is_set_to_does_not_matter_to_the_rows() -> None:
    """So the rows of an earlier call can be used after its threshold has been set."""
    plain = settings_for(Settings())
    own = Settings(
        min_confidence=0.3, early_tokens=4, escalate="never", escalate_topics=["x"], escalations_per_chat=1,
        calibration=Path("other.json"),
    )  # fmt: skip
    assert settings_for(own).model_dump() == plain.model_dump()
    assert (plain.early_tokens, plain.escalate, plain.calibration) == (0, "auto", None)
    assert "min_confidence" in plain.model_fields_set  # or a calibration's threshold would take its place
    assert settings_for(Settings(k=7)).model_dump() != plain.model_dump()


def test_what_cannot_end_well_is_said_before_the_work(tmp_path: Path) -> None:
    """Too few questions, a folder that is not there, a folder in the place of the file; and nothing is left behind."""
    with pytest.raises(CalibrationError, match=r"qa\.jsonl has 49 questions to ask, and at least 50"):
        refuse_few(49, tmp_path / "qa.jsonl")
    refuse_few(50, tmp_path / "qa.jsonl")
    for path in (tmp_path / "none" / "out.json", tmp_path):
        with pytest.raises(CalibrationError, match="cannot be written"):
            refuse_unwritable(path)
    kept = tmp_path / "out.json"
    kept.write_text("kept", encoding="utf-8")
    refuse_unwritable(kept)
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert kept.read_text(encoding="utf-8") == "kept"


# --- What is shown ---------------------------------------------------------------------------------------


def test_the_file_is_read_back(good: Result, tmp_path: Path) -> None:
    """As the chat reads it."""
    path = tmp_path / "calibration.json"
    write_calibration(path, good.calibration)
    found = read_calibration(path)
    assert found == good.calibration
    assert (found.model, found.questions) == ("m", 600)
    assert found.target == f"95 % of the right answers of {ORACLE}"


def test_the_curve_goes_from_all_drafts_to_all_large_answers(good: Result) -> None:
    """All orders have the same ends; in between, the confidence is above chance, and chance is a straight line."""
    curve, routers = good.figures["curve"], good.figures["routers"]
    for name in ("random", "length", "default", "calibrated"):
        ends = curve[name]["right"][0], curve[name]["right"][-1]
        assert ends == (routers["always small"]["right"], routers["always large"]["right"])
        for low, right, high in zip(curve[name]["low"], curve[name]["right"], curve[name]["high"], strict=True):
            assert low <= right <= high
    assert curve["random"]["right"][10] == pytest.approx((ends[0] + ends[1]) / 2, abs=1e-4)
    assert curve["calibrated"]["low"][10] > curve["random"]["high"][10]


def test_the_tables_say_what_they_are_of(good: Result) -> None:
    """Whose drafts, what stands in for the large model, and that no draft is scored by weights fitted to it."""
    shown = "\n".join(tables(good.figures))
    assert "600 drafts of m were judged" in shown
    assert ORACLE in shown
    assert "fitted on other documents (12 folds)" in shown
    for name in ("always small", "always large", "random", "length", "default at 0.6", "calibrated at"):
        assert re.search(rf"(?m)^{name}", shown), name


def test_the_drawing_is_legible_in_light_and_dark(good: Result) -> None:
    """Well-formed, words as text, and no colour but that of the words and of the paper; names cannot break it."""
    figures: dict[str, Any] = {**good.figures, "model": "<b>&"}
    svg = drawn(figures)
    root = ElementTree.fromstring(svg)
    texts = [one.text or "" for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any("drafts of <b>&;" in text for text in texts)
    assert any(ORACLE in text for text in texts)
    assert any("threshold" in text for text in texts)
    colours = {one.get("fill") for one in root.iter() if one.get("fill")} | set(re.findall(r'stroke="([^"]+)"', svg))
    assert colours == {"currentColor"}
    lines = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
    assert len({line.get("stroke-dasharray") for line in lines}) == len(lines) == 4
    for line in lines:
        for pair in (line.get("points") or "").split():
            across, down = map(float, pair.split(","))
            assert 0 <= across <= 720
            assert 0 <= down <= 460

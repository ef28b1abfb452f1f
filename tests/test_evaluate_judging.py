"""The grades of a large model: what is asked, what is understood, and what a failure costs."""

from __future__ import annotations

import json

import pytest

from rag.backends.scripted import Script, ScriptedBackend
from rag.chunking import Chunk
from rag.errors import ModelBroke
from rag.evidence import sentences_of
from rag.workbench.figures import summed_up
from rag.workbench.judging import grade_in, judgements, precision_in
from rag.workbench.rows import Row
from tests.test_evaluate_rows import BUTTON, GOOD, Make, row_of

pytestmark = pytest.mark.anyio

EVIDENCE = sentences_of(Chunk("The chat listens on port 8000. The garden needs water.", "x.md"))
QUESTION, ANSWER = "Which port is it?", "Port 8000."


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        pytest.param("8", 0.8, id="a number"),
        pytest.param(" 10 / 10", 1.0, id="of ten"),
        pytest.param("**7**", 0.7, id="bold"),
        pytest.param("I give it 9. Yes, 9.", 0.9, id="twice the same"),
        pytest.param("0", 0.0, id="nothing"),
        pytest.param("7.5", None, id="no whole number"),
        pytest.param("8 out of 10", 0.8, id="out of ten"),
        pytest.param("8 of 10", 0.8, id="so many of ten"),
        pytest.param("Grade: 10 Out Of 10.", 1.0, id="ten of ten"),
        pytest.param("-3", None, id="below"),
        pytest.param("−3", None, id="below, with a real minus"),
        pytest.param("3-5", None, id="a span"),
        pytest.param("3–5", None, id="a span with a dash"),
        pytest.param("8/100", None, id="of a hundred"),
        pytest.param("8 out of 100", None, id="out of a hundred"),
        pytest.param("4/5", None, id="of five"),
        pytest.param("11", None, id="above"),
        pytest.param("3 or 4", None, id="two"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="failed"),
    ],
)
async def test_only_a_clear_grade_is_one(reply: str | None, grade: float | None) -> None:
    """A guess at what was meant would be a made-up figure."""
    assert grade_in(reply) == grade


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        pytest.param("1", 1.0, id="the first"),
        pytest.param("Lines 2 and 1.", 1.0, id="both, in any order"),
        pytest.param("2", 0.5, id="the second"),
        pytest.param("none", 0.0, id="none"),
        pytest.param("3", None, id="not there"),
        pytest.param("0", None, id="no place"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="failed"),
    ],
)
async def test_lines_that_help_count_by_their_place(reply: str | None, value: float | None) -> None:
    """As without a judge."""
    assert precision_in(reply, 2) == value


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        pytest.param("1-3", 1.0, id="from one to another"),
        pytest.param("Lines 2 – 3", (1 / 2 + 2 / 3) / 2, id="with a dash"),
        pytest.param("1 to 2", 1.0, id="in words"),
        pytest.param("- 1\n- 3", (1 + 2 / 3) / 2, id="a list is no span"),
        pytest.param("2-4", None, id="to one that is not there"),
        pytest.param("3-1", None, id="backwards"),
        pytest.param("1-99999999999", None, id="to the end of the world"),
        pytest.param("none of the 3 lines", 0.0, id="none of so many"),
        pytest.param("**None** of lines 1-3 helps.", 0.0, id="none, in bold"),
        pytest.param("There is none.", 0.0, id="none at the end"),
    ],
)
async def test_lines_may_be_named_as_a_span(reply: str, value: float | None) -> None:
    """As people name them; and who says none first names none, whatever number follows."""
    assert precision_in(reply, 3) == pytest.approx(value)


async def test_the_judge_is_asked_three_things() -> None:
    """With the question, the answer, and the numbered evidence; each grade is its own."""
    judge = ScriptedBackend("9", "10", "1")
    grades = await judgements(judge, QUESTION, ANSWER, EVIDENCE)
    assert grades == {"answer_relevancy": 0.9, "faithfulness": 1.0, "context_precision": 1.0}
    asked = [messages[-1]["content"] for messages in judge.requests]
    assert QUESTION in asked[0]
    assert "1. The chat listens on port 8000." in asked[1]
    assert "2. The garden needs water." in asked[2]


async def test_what_is_not_there_is_not_asked_for() -> None:
    """No answer, no evidence: nothing to grade, and no question to the model."""
    judge = ScriptedBackend("none")
    assert (await judgements(judge, QUESTION, "", EVIDENCE))["context_precision"] == 0.0
    assert len(judge.requests) == 1
    assert set((await judgements(judge, QUESTION, "", ())).values()) == {None}
    assert len(judge.requests) == 1


async def test_a_judge_that_fails_costs_its_grades_alone(make_assistant: Make) -> None:
    """Null, not a crash; and a row without grades can still be read from an older trace."""
    broken = ScriptedBackend(Script("", error=ModelBroke("It broke.")))
    row = await row_of(make_assistant(ScriptedBackend(GOOD)), BUTTON, judge=broken)
    assert row.judged == {"answer_relevancy": None, "faithfulness": None, "context_precision": None}
    assert (row.route, row.answer_right) == ("slm", True)
    assert summed_up([row])["judged"]["faithfulness"] is None
    older = {name: value for name, value in json.loads(json.dumps(row.to_json())).items() if name != "judged"}
    assert Row.from_json(older).judged is None
    assert "judged" not in summed_up([Row.from_json(older)])


async def test_grades_are_means_over_the_rows_that_have_them(make_assistant: Make) -> None:
    """Beside the figures by words, under the same names."""
    rows = [
        await row_of(make_assistant(ScriptedBackend(GOOD)), BUTTON, judge=ScriptedBackend(*replies))
        for replies in (("9", "10", "1"), ("5", "well", "1"))
    ]
    found = summed_up(rows)
    assert found["judged"]["answer_relevancy"] == pytest.approx(0.7)
    assert found["judged"]["faithfulness"] == 1.0
    assert found["intervals"]["judged.answer_relevancy"][0] >= 0.5

"""Marks that a model gives, and what can be read of them."""

from __future__ import annotations

import pytest

from rag.backends.scripted import Script, ScriptedBackend
from rag.chunking import Chunk
from rag.errors import ModelBroke
from rag.evidence import Evidence
from rag.workbench.marks import Marks, marks_by, marks_in

pytestmark = pytest.mark.anyio


@pytest.fixture
def evidence() -> tuple[Evidence, ...]:
    """One sentence of a document."""
    text = "The chat listens on port 8000."
    return (Evidence(text, text, Chunk(text, "ports.md"), 0, len(text)),)


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        pytest.param('{"coherence": 4, "factuality": 3, "brevity": 5}', (4, 3, 5), id="JSON"),
        pytest.param('```json\n{"Coherence": "4", "FACTUALITY": 3.0, "brevity": "5/5"}\n```', (4, 3, 5), id="fenced"),
        pytest.param('I think {"coherence": 1}. No: {"coherence": 2, "brevity": 3}', (2, None, 3), id="the last one"),
        pytest.param("coherence: 4\nfactuality: 3\nbrevity: 5", (4, 3, 5), id="words"),
        pytest.param("**Coherence** (1-5): 4/5. Factuality - 2 out of 5; brevity is 3", (4, 2, 3), id="loose words"),
        pytest.param("| coherence | 4 |\n| brevity | 2 |", (4, None, 2), id="a table"),
        pytest.param('{"coherence": 4, "factuality": 3, "brevity": 5', (4, 3, 5), id="cut JSON"),
        pytest.param("{coherence: 4, brevity: 1}", (4, None, 1), id="JSON without quotes"),
        pytest.param('{"coherence": 0, "factuality": 6, "brevity": 3.5}', (None, None, None), id="out of range"),
        pytest.param("coherence: 8/10, factuality: 45, brevity: -3", (None, None, None), id="other scales"),
        pytest.param("coherence: 4 ... coherence: 2", (None, None, None), id="two of them"),
        pytest.param("coherence: 4 ... coherence: 4", (4, None, None), id="the same one twice"),
        pytest.param("A fine answer of 5 sentences.", (None, None, None), id="no marks"),
        pytest.param("", (None, None, None), id="nothing"),
        pytest.param("{" * 5000 + '"coherence": 3' + "}" * 5000, (3, None, None), id="nested too deep"),
        pytest.param('{"coherence": true, "brevity": null, "factuality": [4]}', (None, None, None), id="other types"),
    ],
)
def test_marks_are_read_as_they_come(reply: str, marks: tuple[int | None, ...]) -> None:
    """What cannot be read is None, and nothing is guessed."""
    assert marks_in(reply) == Marks(*marks)


async def test_the_judge_sees_the_question_the_evidence_and_the_answer(evidence: tuple[Evidence, ...]) -> None:
    """And nothing of who answered."""
    judge = ScriptedBackend('{"coherence": 4, "factuality": 3, "brevity": 5}', label="judge")
    assert await marks_by(judge, "Which port?", "It is 8000.", evidence) == (Marks(4, 3, 5), "judge")
    asked = judge.requests[0][-1]["content"]
    assert "- The chat listens on port 8000." in asked
    assert "Question: Which port?\n\nAnswer: It is 8000." in asked
    await marks_by(judge, "Which port?", "It is 8000.")
    assert "Context" not in judge.requests[1][-1]["content"]


async def test_a_judge_that_repeats_what_it_reads_gives_no_marks() -> None:
    """The shape of the reply is shown without a digit that could be taken for a mark."""
    judge = ScriptedBackend("…")
    await marks_by(judge, "Which port?", "It is the usual one.")
    for message in judge.requests[0]:
        assert not marks_in(message["content"])


async def test_a_judge_that_fails_says_so() -> None:
    """Whoever asked it decides what to make of it."""
    with pytest.raises(ModelBroke):
        await marks_by(ScriptedBackend(Script("x", error=ModelBroke("cut"))), "a", "b")

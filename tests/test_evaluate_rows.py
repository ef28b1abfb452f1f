"""Rows are collected from the whole assistant, on scripted models, and kept in a trace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rag
from rag.assistant import Assistant
from rag.backends.scripted import Script, ScriptedBackend
from rag.calibration import SHIPPED, write_calibration
from rag.errors import DocumentsError, ModelUnavailable, QuestionError
from rag.settings import Mode
from rag.workbench.comparison import read_earlier
from rag.workbench.figures import summed_up
from rag.workbench.questions import Known
from rag.workbench.rows import FAILED, Row, collect
from rag.workbench.trace import Fingerprint, Trace, _shapes, fingerprint, read_trace

pytestmark = pytest.mark.anyio

Make = Callable[..., Assistant]
BUTTON = Known("Which button must I hold for ten seconds?", ("reset button",), "ports.md")
TOMATOES = Known("When should I water the tomatoes?", ("in the morning",), "home/garden.txt")
OLYMPIAD = Known("Who won the chess olympiad?", (), false_premise=True)
GOOD = Script("Hold the reset button for ten seconds.", logprob=-0.01)
DOUBTFUL = Script("Monks in Lyon hold it.", logprob=-3.0)
OWN = Fingerprint("hybrid", ("small",), "s", "d", "c")


async def rows_of(assistant: Assistant, known: Sequence[Known], **options: Any) -> list[Row]:
    """All rows, within a bounded time."""
    await assistant.start()
    async with asyncio.timeout(30), aclosing(collect(assistant, known, **options)) as rows:
        return [row async for row in rows]


async def row_of(assistant: Assistant, known: Known = BUTTON, **options: Any) -> Row:
    """The only row."""
    (row,) = await rows_of(assistant, [known], **options)
    return row


async def test_a_kept_draft_is_a_row(make_assistant: Make) -> None:
    """What was asked, what was said, and what it is worth."""
    row = await row_of(make_assistant(ScriptedBackend(GOOD)))
    assert (row.route, row.reason, row.status) == ("slm", None, "complete")
    assert (row.answer, row.draft) == ("Hold the reset button for ten seconds. [1]", GOOD.text)
    assert (row.answerable, row.draft_right, row.answer_right, row.quote_right) == (True, True, True, True)
    assert row.f1 == pytest.approx(2 * 2 / (6 + 2))
    assert (row.sentences, row.cited, row.cited_right, row.unsupported) == (1, 1, 1, 0)
    assert row.citations[0]["document"] == "ports.md"
    assert row.citations[0]["quote"].startswith("Hold the reset button")
    assert row.tokens is not None
    assert row.tokens["completion"] == 7
    assert row.confidence is not None
    assert row.confidence_without_logprobs not in (None, row.confidence)
    assert (row.faithfulness, row.context_precision, row.answer_relevancy) == (1.0, 1.0, None)
    assert (row.large, row.large_right) == (None, None)


async def test_a_quoted_row_keeps_the_draft_that_was_set_aside(make_assistant: Make) -> None:
    """The quotation is right, the draft is not."""
    row = await row_of(make_assistant(ScriptedBackend(DOUBTFUL)))
    assert (row.route, row.draft, row.draft_right, row.answer_right) == ("quoted", DOUBTFUL.text, False, True)
    assert row.sentences == row.cited == row.cited_right >= 1


async def test_an_abstention_has_no_draft(make_assistant: Make) -> None:
    """Names of documents in it are no answer."""
    row = await row_of(make_assistant(ScriptedBackend(GOOD)), Known("Who won the chess olympiad?", ("ports",)))
    assert (row.route, row.abstained, row.draft, row.confidence, row.answer_right) == (
        "abstained", True, None, None, False,
    )  # fmt: skip


async def test_a_draft_that_says_that_the_documents_do_not_say_abstains(make_assistant: Make) -> None:
    """In the model's words."""
    hedging = ScriptedBackend(Script("The context does not mention such a button.", logprob=-0.01))
    row = await row_of(make_assistant(hedging, min_confidence=0.0))
    assert (row.route, row.abstained, row.sentences) == ("slm", True, 0)


async def test_the_large_model_is_asked_what_the_small_one_answered(make_assistant: Make) -> None:
    """To see what escalating would have gained; it changes nothing of the row."""
    large = ScriptedBackend("The blue one, surely.", label="large")
    row = await row_of(make_assistant(ScriptedBackend(GOOD), large), ask_large=True)
    assert (row.route, row.large, row.large_right, row.answer_right) == ("slm", "The blue one, surely.", False, True)
    assert row.tokens is not None
    assert row.tokens["completion"] == 7
    assert row.usage == {"slm": row.tokens, "llm": None}
    assert row.large_ms is not None
    assert row.large_ms > 0
    assert row.large_tokens is not None
    assert row.large_tokens["completion"] == 4
    assert len(large.requests) == 1


async def test_an_escalated_row_has_the_large_models_answer(make_assistant: Make) -> None:
    """It is not asked again for the curve."""
    large = ScriptedBackend("The reset button.", label="large")
    row = await row_of(make_assistant(ScriptedBackend(DOUBTFUL), large), ask_large=True)
    assert (row.route, row.draft_right, row.large, row.large_right) == ("escalated", False, "The reset button.", True)
    assert len(large.requests) == 1
    assert row.tokens is not None
    assert row.tokens["completion"] == 5 + 3
    assert row.usage is not None
    assert {role: used and used["completion"] for role, used in row.usage.items()} == {"slm": 5, "llm": 3}
    assert row.large_tokens == row.usage["llm"]


async def test_what_the_large_model_takes_alone_is_without_the_draft(make_assistant: Make) -> None:
    """An escalated answer took the draft's time too; one that went straight to the large model did not."""
    slow = ScriptedBackend(Script(DOUBTFUL.text, logprob=-3.0, pace_s=0.02))
    escalated = await row_of(make_assistant(slow, ScriptedBackend("The reset button.", label="large")))
    assert escalated.large_ms is not None
    assert 0 < escalated.large_ms <= escalated.total_ms - 40
    straight = await row_of(make_assistant(slow, ScriptedBackend("The reset button.", label="large")), mode="llm")
    assert straight.large_ms == pytest.approx(straight.total_ms, abs=0.1)
    kept = await row_of(make_assistant(ScriptedBackend(GOOD)))
    assert (kept.large_ms, kept.large_tokens) == (None, None)


async def test_earlier_questions_are_asked_first(make_assistant: Make) -> None:
    """The follow-up is sent with their answers, without marks."""
    slm = ScriptedBackend(GOOD, Script("For ten seconds.", logprob=-0.01))
    row = await row_of(make_assistant(slm), Known("And for how long?", ("ten seconds",), history=(BUTTON.question,)))
    assert row.history == [BUTTON.question]
    assert row.question == "And for how long?"
    assert {"role": "assistant", "content": GOOD.text} in slm.requests[-1]
    assert len(slm.requests) == 2


async def test_a_question_that_is_refused_is_a_row_and_ends_nothing(make_assistant: Make) -> None:
    """One of a thousand is too long; the others are measured."""
    assistant = make_assistant(ScriptedBackend(GOOD), max_question_chars=50)
    rows = await rows_of(assistant, [Known("x" * 51, ("y",)), BUTTON])
    failed, fine = sorted(rows, key=lambda row: row.route)
    assert (failed.route, failed.answer_right, failed.abstained) == (FAILED, False, False)
    assert "the limit is 50" in (failed.reason or "")
    assert fine.route == "slm"
    assert summed_up(rows)["routes"] == {"failed": 1, "slm": 1}


async def test_what_no_question_survives_is_raised(make_assistant: Make, docs: Path) -> None:
    """Without documents, or without the only model that may answer, there is nothing to measure."""
    with pytest.raises(ModelUnavailable):
        await rows_of(make_assistant(ScriptedBackend(GOOD)), [BUTTON], mode="llm")
    for path in docs.rglob("*.*"):
        path.unlink()
    with pytest.raises(DocumentsError):
        await rows_of(make_assistant(ScriptedBackend(GOOD)), [BUTTON])


async def test_as_many_questions_are_asked_at_a_time_as_there_are_slots(make_assistant: Make) -> None:
    """Two, not one and not five; all are answered once."""
    slm = ScriptedBackend(Script(GOOD.text, pace_s=0.005))
    assistant = make_assistant(slm, slots=2)
    await assistant.start()
    known = [replace(BUTTON, question=f"{BUTTON.question} {at}") for at in range(5)]
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, slm.open)
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    rows = await rows_of(assistant, known)
    watching.cancel()
    assert most == 2
    assert sorted(row.question for row in rows) == [one.question for one in known]


async def test_closing_stops_the_models(make_assistant: Make) -> None:
    """Ctrl-C leaves nothing running."""
    slm = ScriptedBackend(GOOD, Script(GOOD.text, pace_s=5))
    assistant = make_assistant(slm, slots=2)
    await assistant.start()
    async with asyncio.timeout(5), aclosing(collect(assistant, [BUTTON, TOMATOES, OLYMPIAD])) as rows:
        async for _ in rows:
            break
    assert slm.open == 0
    assert not assistant._waitlist.in_use


class Broken:
    """An encoder that fails."""

    def encode(self, texts: Sequence[str]) -> Any:
        raise RuntimeError("no weights")


async def test_a_metric_that_fails_is_null(make_assistant: Make) -> None:
    """The answer may have taken a minute; it is kept."""
    row = await row_of(make_assistant(ScriptedBackend(GOOD)), encoder=Broken())
    assert (row.answer_relevancy, row.answer_right) == (None, True)


async def test_the_whole_way_from_questions_to_figures(make_assistant: Make) -> None:
    """Three questions on scripted models: a kept draft, a quotation, an abstention."""
    slm = ScriptedBackend(GOOD, DOUBTFUL)
    figures = summed_up(await rows_of(make_assistant(slm, slots=1), [BUTTON, TOMATOES, OLYMPIAD]))
    assert (figures["questions"], figures["answerable"]) == (3, 2)
    assert figures["routes"] == {"abstained": 1, "quoted": 1, "slm": 1}
    assert (figures["answer_contains"], figures["draft_contains"]) == (1.0, 0.5)
    assert figures["abstention"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert (figures["false_premise"], figures["escalation_rate"]) == (1.0, pytest.approx(1 / 3, abs=1e-4))
    assert figures["auroc"]["confidence"] == figures["apgr"] == 1.0
    assert figures["coverage_at_90"] == 0.5
    assert figures["supported_sentences"] == figures["citation_precision"] == 1.0
    json.dumps(figures, allow_nan=False)


# --- Traces ----------------------------------------------------------------------------------------------


def known_place(known: Sequence[Known]) -> Callable[[Row], int]:
    """Where a row's question stands among the known ones."""
    return lambda row: known.index(row.known)


async def asked(assistant: Assistant, path: Path, known: Sequence[Known], *, most: int = 99) -> list[Row]:
    """The rows of a trace that is written until `most` questions were asked."""
    await assistant.start()
    with Trace(path, fingerprint(assistant, "hybrid")) as trace:
        kept = trace.kept(known)
        left = [one for one in known if one.key not in {row.key for row in kept}]
        async with aclosing(collect(assistant, left[:most])) as rows:
            async for row in rows:
                trace.add(row)
                kept.append(row)
    return kept


async def test_a_trace_is_gone_on_with(make_assistant: Make, tmp_path: Path) -> None:
    """What is in it is not asked again, and the figures are over all of it."""
    path, known = tmp_path / "rows.jsonl", [BUTTON, TOMATOES, OLYMPIAD]
    first, second, third = ScriptedBackend(GOOD), ScriptedBackend(DOUBTFUL), ScriptedBackend(GOOD)
    assert len(await asked(make_assistant(first), path, known, most=1)) == 1
    rows = await asked(make_assistant(second), path, known)
    assert [len(first.requests), len(second.requests)] == [1, 1]  # the third needs no model
    assert sorted(row.route for row in rows) == ["abstained", "quoted", "slm"]
    again = await asked(make_assistant(third), path, known)
    assert [row.known for row in again] == known
    assert sorted(read_trace(path)[1], key=known_place(known)) == again
    assert third.requests == []


async def test_a_line_that_was_cut_short_is_asked_again(make_assistant: Make, tmp_path: Path) -> None:
    """Whatever ended the program, the file is whole again afterwards."""
    path, known = tmp_path / "rows.jsonl", [BUTTON, TOMATOES]
    await asked(make_assistant(ScriptedBackend(GOOD), slots=1), path, known)
    path.write_bytes(path.read_bytes()[:-20])
    assert [row.known for row in read_trace(path)[1]] == [BUTTON]
    slm = ScriptedBackend(GOOD)
    await asked(make_assistant(slm, slots=1), path, known)
    assert len(slm.requests) == 1
    assert [row.known for row in read_trace(path)[1]] == known


@pytest.mark.parametrize(
    ("settings", "mode", "words"),
    [
        pytest.param({"min_confidence": 0.5}, "hybrid", "other settings", id="settings"),
        pytest.param({}, "slm", "other mode", id="mode"),
    ],
)
async def test_a_trace_of_another_run_is_refused(
    make_assistant: Make, tmp_path: Path, settings: dict[str, Any], mode: Mode, words: str
) -> None:
    """Rows of two kinds have no figure in common."""
    path = tmp_path / "rows.jsonl"
    await asked(make_assistant(ScriptedBackend(GOOD)), path, [BUTTON])
    before = path.read_bytes()
    other = make_assistant(ScriptedBackend(GOOD), **settings)
    await other.start()
    with pytest.raises(QuestionError, match=words):
        Trace(path, fingerprint(other, mode))
    assert path.read_bytes() == before


async def test_a_trace_of_other_documents_or_models_is_refused(
    make_assistant: Make, docs: Path, tmp_path: Path
) -> None:
    """One word in one document is enough; where the folder lies is not."""
    path = tmp_path / "rows.jsonl"
    await asked(make_assistant(ScriptedBackend(GOOD)), path, [BUTTON])
    moved = make_assistant(ScriptedBackend(GOOD), queue_limit=7)
    await asked(moved, path, [BUTTON])
    (docs / "ports.md").write_text("The port is 9000.", encoding="utf-8")
    other = make_assistant(ScriptedBackend(GOOD, label="another"))
    await other.start()
    with pytest.raises(QuestionError, match="other models and documents"):
        Trace(path, fingerprint(other, "hybrid"))


async def test_a_trace_with_another_calibration_is_refused(make_assistant: Make, tmp_path: Path) -> None:
    """Its weights decide which drafts are kept; the same ones in a new file are the same."""
    path, calibration = tmp_path / "rows.jsonl", tmp_path / "calibration.json"
    other = replace(SHIPPED, threshold=0.99)
    write_calibration(calibration, SHIPPED)
    await asked(make_assistant(ScriptedBackend(GOOD), calibration=calibration), path, [BUTTON])
    before = path.read_bytes()
    for made, refused in ((SHIPPED, False), (other, True)):
        write_calibration(calibration, made)
        assistant = make_assistant(ScriptedBackend(GOOD), calibration=calibration)
        await assistant.start()
        with pytest.raises(QuestionError, match="other settings") if refused else nullcontext():
            Trace(path, fingerprint(assistant, "hybrid")).__exit__(None, None, None)
    assert path.read_bytes() == before


def test_the_digest_of_the_program_is_of_what_shapes_answers() -> None:
    """Its weights too; not what reads the command line, notes what readers say, or measures."""
    root = Path(rag.__file__).parent
    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if _shapes(path)}
    assert {"calibration.json", "router.py", "backends/scripted.py"} <= names
    assert not {"__main__.py", "commands.py", "feedback.py", "workbench/rows.py"} & names
    assert {Path(name).suffix for name in names} == {".py", ".json"}


async def test_another_program_is_a_warning(make_assistant: Make, tmp_path: Path) -> None:
    """Its rows may still be wanted; whoever reads the figures should know."""
    path = tmp_path / "rows.jsonl"
    Trace(path, OWN).__exit__(None, None, None)
    with Trace(path, OWN) as trace:
        assert trace.warning == ""
    with Trace(path, replace(OWN, code="newer")) as trace:
        assert "The program has changed" in trace.warning


async def test_a_question_with_other_answers_is_asked_again(make_assistant: Make, tmp_path: Path) -> None:
    """Its row was judged by the old ones."""
    path = tmp_path / "rows.jsonl"
    await asked(make_assistant(ScriptedBackend(GOOD)), path, [BUTTON])
    mended = replace(BUTTON, answers=("Lyon",))
    (row,) = await asked(make_assistant(ScriptedBackend(GOOD)), path, [mended])
    assert (row.answer_right, row.answers) == (False, ["Lyon"])
    assert read_trace(path)[1][1:] == [row]


async def test_a_trace_can_be_compared_with(make_assistant: Make, tmp_path: Path) -> None:
    """Its figures are those of its rows, and the rows are there for the pairs."""
    path = tmp_path / "rows.jsonl"
    rows = await asked(make_assistant(ScriptedBackend(GOOD)), path, [BUTTON, OLYMPIAD])
    earlier = read_earlier(path)
    assert sorted(row.question for row in earlier.rows) == sorted(row.question for row in rows)
    assert earlier.figures == summed_up(rows)
    output = tmp_path / "old.json"
    output.write_text(json.dumps(summed_up(rows)), encoding="utf-8")
    assert read_earlier(output).figures == earlier.figures


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param('{"question": "?"}\n', "is no trace", id="a file of questions"),
        pytest.param('{"trace": 1, "mode"', "only the beginning", id="cut in the first line"),
        pytest.param('{"trace": 1, "mode": "slm"}\n', "line 1 is no row", id="another version's first line"),
        pytest.param("ROW\n[]\n", "line 2 is no row", id="a list"),
        pytest.param('ROW\n{"question": "?"}\nROW\n', "line 2 is no row", id="another version's row"),
        pytest.param("ROW\nno JSON\nROW\n", "line 2 is no row", id="not the last line"),
    ],
)
async def test_what_is_no_trace_is_refused_and_left_alone(tmp_path: Path, content: str, sentence: str) -> None:
    """A file named by mistake must not be written over."""
    path = tmp_path / "rows.jsonl"
    with Trace(path, OWN):
        pass
    path.write_text(content.replace("ROW", path.read_text(encoding="utf-8").strip()), encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(QuestionError, match=sentence):
        Trace(path, OWN)
    assert path.read_bytes() == before


async def test_a_trace_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """A folder that is not there."""
    with pytest.raises(QuestionError, match="cannot be written"):
        Trace(tmp_path / "none" / "rows.jsonl", OWN)


async def test_half_a_character_does_not_end_the_run(make_assistant: Make, tmp_path: Path) -> None:
    """JSON can hold what UTF-8 cannot."""
    path, odd = tmp_path / "rows.jsonl", replace(BUTTON, question=f"{BUTTON.question} \ud800")
    await asked(make_assistant(ScriptedBackend(GOOD)), path, [odd])
    assert [row.question for row in read_trace(path)[1]] == [odd.question]

"""The trace: every answer as lines in a file or as spans, with no word of any text, and never in an answer's way."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rag.assistant import Assistant
from rag.backends.scripted import Script, ScriptedBackend
from rag.errors import ModelBroke, ModelUnavailable, SettingsError
from rag.events import Token
from rag.journal import Journal, append
from rag.settings import load_settings
from rag.spans import Spans
from rag.steps import Asked, Entry, entry_of
from rag.timings import Stage
from tests.conftest import events_of

pytestmark = pytest.mark.anyio

QUESTION = "Which button must I hold for ten seconds?"
GOOD = Script("Hold the reset button for ten seconds.", logprob=-0.01)
DOUBTFUL = Script("Monks in Lyon hold the reset button.", logprob=-3.0)
BROKEN = Script("Hold the", error=ModelBroke("The model server at x stopped in mid-answer."), error_after=2)
Make = Callable[..., Assistant]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """What the trace has."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def traced(assistant: Assistant, question: str = QUESTION, **options: Any) -> None:
    """Ask one question and close everything."""
    await assistant.start()
    try:
        await events_of(assistant.ask(question, **options))
    finally:
        await assistant.stop()


@pytest.mark.parametrize(
    ("slm", "llm", "mode", "steps", "route"),
    [
        pytest.param(GOOD, GOOD, "hybrid", ["search", "draft", "answer"], "slm", id="kept"),
        pytest.param(DOUBTFUL, GOOD, "hybrid", ["search", "draft", "escalate", "answer"], "escalated", id="escalated"),
        pytest.param(DOUBTFUL, None, "hybrid", ["search", "draft", "answer"], "quoted", id="quoted"),
        pytest.param(GOOD, GOOD, "llm", ["search", "large", "answer"], "llm", id="large only"),
        pytest.param(GOOD, GOOD, "refine", ["search", "draft", "refine", "answer"], "refined", id="refined"),
        pytest.param(GOOD, Script(""), "refine", ["search", "draft", "refine", "answer"], "slm", id="not polished"),
        pytest.param(DOUBTFUL, Script(""), "hybrid", ["search", "draft", "escalate", "answer"], "quoted", id="in vain"),
    ],
)
async def test_an_answer_is_a_line_for_each_step_and_one_for_the_whole(
    make_assistant: Make, tmp_path: Path, slm: Script, llm: Script | None, mode: str, steps: list[str], route: str
) -> None:
    """Joined by the answer's id, in the order of what happened, each with its model, its time and its tokens."""
    path = tmp_path / "trace.jsonl"
    large = ScriptedBackend(llm, label="large stand-in") if llm else None
    small = ScriptedBackend(slm, label="small stand-in")
    await traced(make_assistant(small, large, trace=path, refine_over_chars=0), mode=mode)
    lines = lines_of(path)
    assert [line["step"] for line in lines] == steps
    assert {line["route"] for line in lines} == {route}
    assert {line["mode"] for line in lines} == {mode}
    assert len({line["answer_id"] for line in lines}) == 1
    asked = {"draft": "small stand-in", "escalate": "large stand-in", "refine": "large stand-in"}
    asked |= {"large": "large stand-in"}
    for line in lines[:-1]:
        assert line["alias"] == asked.get(line["step"])
        assert line["model"] == line["alias"]
        assert line["latency_ms"] > 0
        assert line["when"].endswith("Z")
    written = [line for line in lines[:-1] if line["tokens"]]
    assert lines[-1]["latency_ms"] >= sum(line["latency_ms"] for line in lines[:-1])
    if len(written) == len([line for line in lines[:-1] if line["alias"]]):
        assert lines[-1]["tokens"]["completion"] == sum(line["tokens"]["completion"] for line in written)


async def test_no_word_of_the_question_the_documents_or_the_answer_is_in_the_trace(
    make_assistant: Make, tmp_path: Path
) -> None:
    """Nor the reason, in which a server's words may be."""
    path = tmp_path / "trace.jsonl"
    await traced(make_assistant(ScriptedBackend(BROKEN), ScriptedBackend(DOUBTFUL), trace=path))
    text = path.read_text(encoding="utf-8").lower()
    for word in ("button", "reset", "monks", "ports", "hold", "mid-answer", "factory"):
        assert word not in text


async def test_an_answer_that_is_stopped_or_fails_is_noted_too(make_assistant: Make, tmp_path: Path) -> None:
    """Its route is null, and the time of the step in which it was is that until its end."""
    path = tmp_path / "trace.jsonl"
    assistant = make_assistant(ScriptedBackend(Script("Hold the reset button. " * 50, pace_s=0.01)), trace=path)
    await assistant.start()
    async with aclosing(assistant.ask(QUESTION)) as events:
        seen = 0
        async for event in events:
            seen += isinstance(event, Token)
            if seen == 5:
                break
    await assistant.stop()
    *_, draft, whole = lines_of(path)
    assert (draft["step"], whole["status"], whole["route"]) == ("draft", "stopped", None)
    assert draft["ttft_ms"] >= 10
    assert draft["latency_ms"] >= 40

    failing = tmp_path / "failing.jsonl"
    with pytest.raises(ModelUnavailable):
        await traced(make_assistant(ScriptedBackend(GOOD), trace=failing), mode="llm")
    assert lines_of(failing)[-1]["status"] == "failed"


async def test_answers_at_the_same_time_do_not_mix_their_lines(make_assistant: Make, tmp_path: Path) -> None:
    """The lines of one answer stand together, also where two assistants share a file."""
    path = tmp_path / "trace.jsonl"
    both = [make_assistant(ScriptedBackend(GOOD), trace=path) for _ in range(2)]
    for one in both:
        await one.start()
    await asyncio.gather(*(events_of(one.ask(QUESTION)) for one in both for _ in range(4)))
    for one in both:
        await one.stop()
    ids = [line["answer_id"] for line in lines_of(path) if line["step"] in ("search", "draft", "answer")]
    assert len(ids) == 24
    assert all(len(set(ids[start : start + 3])) == 1 for start in range(0, 24, 3))


async def test_a_trace_that_cannot_be_written_costs_no_answer_and_is_told_once(
    make_assistant: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder is not there: the answers come all the same."""
    assistant = make_assistant(ScriptedBackend(GOOD), trace=tmp_path / "no" / "trace.jsonl")
    await assistant.start()
    with caplog.at_level(logging.WARNING, logger="rag.journal"):
        for _ in range(3):
            assert (await events_of(assistant.ask(QUESTION)))[-1].answer.route == "slm"
        await assistant.stop()
    told = [record.getMessage() for record in caplog.records if record.name == "rag.journal"]
    assert len(told) == 1
    assert "The trace cannot be written to" in told[0]
    assert "Answers go on without it." in told[0]


async def test_writing_is_not_waited_for_but_done_before_the_end(make_assistant: Make, tmp_path: Path) -> None:
    """A slow disk holds up its own thread; `stop` waits until all is written."""
    disk, written = threading.Event(), []

    def write(entry: Entry) -> None:
        assert disk.wait(10)
        written.append(entry.route)

    assistant = make_assistant(ScriptedBackend(GOOD))
    assistant._journal = Journal(write, where="a slow disk")
    await assistant.start()
    for _ in range(2):
        await events_of(assistant.ask(QUESTION))
    assert written == []
    disk.set()
    await assistant.stop()
    assert written == ["slm", "slm"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_an_error_of_the_write_and_a_cut_line_ends_before_the_next(tmp_path: Path) -> None:
    """What was cut stays one bad line, and does not spoil the answer after it."""
    entry = entry_of(
        None,
        [Stage("search", 0.0, 0.1)],
        elapsed_s=0.2,
        when=0.0,
        mode="hybrid",
        intent="general",
        slm=Asked("m", "x"),
        llm=None,
    )
    with pytest.raises(OSError, match="No space left"):
        append(entry, Path("/dev/full"))
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b'{"step": "sea')
    append(entry, path)
    cut, *whole = path.read_bytes().splitlines()
    assert cut == b'{"step": "sea'
    assert [json.loads(line)["step"] for line in whole] == ["search", "answer"]


def test_a_new_trace_is_for_its_owner_alone(tmp_path: Path) -> None:
    """What somebody asks when, and of which model, is nobody else's business."""
    entry = entry_of(None, [], elapsed_s=0.0, when=0.0, mode="slm", intent="general", slm=None, llm=None)
    append(entry, tmp_path / "trace.jsonl")
    if os.name == "posix":
        assert (tmp_path / "trace.jsonl").stat().st_mode & 0o077 == 0
    assert json.loads((tmp_path / "trace.jsonl").read_text())["when"] == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param("docs/trace.jsonl", "RAG_TRACE lies among the documents and would be read as one", id="visible"),
        pytest.param("docs", "RAG_TRACE is a folder: docs. Name a file in it, or set it to none.", id="folder"),
    ],
)
def test_a_trace_in_a_wrong_place_is_refused_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    """With the value and the remedy; a hidden file among the documents is not read, and is allowed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    monkeypatch.setenv("RAG_TRACE", value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert message in str(raised.value)
    monkeypatch.setenv("RAG_TRACE", "docs/.trace.jsonl")
    assert load_settings().trace == Path("docs/.trace.jsonl")
    monkeypatch.setenv("RAG_TRACE", "none")
    assert load_settings().trace is None


async def test_an_answer_is_a_span_and_its_steps_are_spans_in_it(make_assistant: Make) -> None:
    """With the names of the conventions for generative AI, and the times at which it happened."""
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    spans = Spans(provider)
    assistant = make_assistant(ScriptedBackend(DOUBTFUL, label="small"), ScriptedBackend(GOOD, label="large"))
    assistant._journal = Journal(spans.write, end=spans.close, where="OpenTelemetry")
    await traced(assistant)
    found = {span.name: span for span in memory.get_finished_spans()}
    assert set(found) == {"search", "chat small", "chat large", "answer"}
    whole, draft = found["answer"], found["chat small"]
    assert whole.parent is None
    assert whole.attributes is not None
    assert whole.attributes["rag.route"] == "escalated"
    assert draft.attributes is not None
    assert draft.attributes["gen_ai.operation.name"] == "chat"
    assert draft.attributes["gen_ai.request.model"] == "small"
    assert draft.attributes["gen_ai.response.model"] == "small"
    assert draft.attributes["gen_ai.usage.output_tokens"] == 7
    assert draft.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert draft.attributes["rag.step"] == "draft"
    for name in ("search", "chat small", "chat large"):
        inner = found[name]
        assert inner.parent is not None
        assert inner.parent.span_id == whole.context.span_id
        assert whole.start_time <= inner.start_time <= inner.end_time <= whole.end_time
    said = " ".join(str(dict(span.attributes or {})) for span in found.values()).lower()
    assert "button" not in said
    provider.shutdown()


PROGRAM = """
import sys, time
from rag.journal import open_journal
from rag.steps import entry_of
{before}
from rag.errors import SettingsError
try:
    journal = open_journal("otel")
except SettingsError as error:
    print(error); sys.exit()
journal.note(entry_of(None, [], elapsed_s=0.1, when=time.time(), mode="slm", intent="general", slm=None, llm=None))
journal.close()
from opentelemetry import trace
print(type(trace.get_tracer_provider()).__name__)
"""


def run(before: str = "", **settings: str) -> str:
    """What a process of its own says about OpenTelemetry, whose provider is one for all of a process."""
    return said_by(before, **settings)[0]


def said_by(before: str = "", **settings: str) -> tuple[str, str]:
    """The same, and what it writes to standard error."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        env={**kept, **settings}, capture_output=True, text=True, timeout=60, check=False,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr


def test_without_the_sdk_the_setting_says_what_to_install() -> None:
    """The product works without it; only who asks for it needs it."""
    said = run("sys.modules['opentelemetry.sdk.trace'] = None")
    assert said.startswith("RAG_TRACE=otel needs the OpenTelemetry SDK, which is not installed. Run pip install")
    said = run(OTEL_TRACES_EXPORTER="zipkin")
    assert said.startswith("RAG_TRACE=otel needs the exporter zipkin (OTEL_TRACES_EXPORTER), which is not installed.")


def test_opentelemetrys_own_variables_choose_the_exporter_and_no_global_provider_is_set() -> None:
    """Here the console's, which prints each span; other libraries' spans do not come along."""
    printed, said = said_by(OTEL_TRACES_EXPORTER="console", OTEL_SERVICE_NAME="mine")
    assert '"name": "answer"' in said
    assert '"service.name": "mine"' in said
    assert printed == "ProxyTracerProvider\n"  # where the answers go, and of --json one document
    assert '"service.name": "grounded-chat"' in said_by(OTEL_TRACES_EXPORTER="console")[1]


def test_a_collector_that_is_not_there_is_not_waited_for_long() -> None:
    """Its exporter tries for ten seconds; the end of the chat does not."""
    began = time.monotonic()
    said = run(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert said.rstrip().endswith("ProxyTracerProvider")
    assert time.monotonic() - began < 6


def test_a_provider_that_the_process_has_is_used_and_left_open() -> None:
    """Whoever set it up closes it."""
    before = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
"""
    said = run(before, OTEL_TRACES_EXPORTER="none")
    assert '"name": "answer"' in said
    assert said.rstrip().endswith("TracerProvider")


def test_off_imports_nothing_of_opentelemetry() -> None:
    """Whoever does not want it does not pay for it."""
    program = "import sys, rag.assistant; print([name for name in sys.modules if 'opentelemetry.sdk' in name])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"

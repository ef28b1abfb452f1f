"""`python -m rag eval`, as a user runs it, against a model server that plays a script."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model_server import DONE, HEAD, ModelServer, Step, chunk, model_server, usage
from tests.test_command_line import ROOT, environment, run

pytestmark = pytest.mark.anyio

BUTTON = {"question": "Which button must I hold for ten seconds?", "answers": ["reset button"], "document": "ports.md"}
TOMATOES = {"question": "When should I water the tomatoes?", "answers": ["in the morning"]}
OLYMPIAD = {"question": "Who won the chess olympiad?", "answers": [], "false_premise": True}


def said(text: str) -> list[Step]:
    """A reply of one piece, that the model is sure of."""
    return [HEAD, chunk(text, logprob=-0.01), chunk(finish="stop"), usage(50, 7), DONE]


GOOD = said("Hold the reset button for ten seconds.")
STALLED: list[Step] = [HEAD, chunk("Hold", logprob=-0.01), 60.0]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Three questions, and a line that is none."""
    path = tmp_path / "qa.jsonl"
    lines = [json.dumps(BUTTON), "no JSON", json.dumps(TOMATOES), json.dumps(OLYMPIAD)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


async def evaluated(server: ModelServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One run with the server's model, one question at a time."""
    return await asyncio.to_thread(run, "eval", *arguments, RAG_SLM_URL=server.url, RAG_SLOTS="1")


async def test_eval_prints_one_json_document(docs: Path, questions: Path) -> None:
    """All figures on standard output; the bad line on standard error, with its number; status 0."""
    async with model_server(GOOD) as server:
        done = await evaluated(server, str(questions), "--docs", str(docs), "--json")
    assert done.returncode == 0, done.stderr
    assert "qa.jsonl, line 2 is not JSON" in done.stderr
    figures = json.loads(done.stdout)
    assert list(figures) == [
        "questions", "answerable", "answer_contains", "f1", "draft_contains", "quote_contains", "abstention",
        "false_premise", "escalation_rate", "drafts_stopped", "routes", "auroc", "ece", "coverage_at_90",
        "supported_sentences", "citation_precision", "answer_relevancy", "faithfulness", "context_precision", "apgr",
        "escalations_saved_at_95", "large_model", "ttft_ms_p50", "ttft_ms_p95", "total_ms_p50", "total_ms_p95",
        "tokens", "orders", "intervals",
    ]  # fmt: skip
    assert (figures["questions"], figures["answerable"], figures["false_premise"]) == (3, 2, 1.0)
    assert figures["answer_relevancy"] > 0
    assert figures["tokens"] == {"prompt": 100, "completion": 14}
    assert len(server.bodies) == 2


async def test_eval_prints_lines_for_people_and_compares(docs: Path, questions: Path, tmp_path: Path) -> None:
    """With an earlier trace: what was, the difference, and the paired interval."""
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    arguments = [str(questions), "--docs", str(docs), "--limit", "2"]
    async with model_server(GOOD, said("In the morning, every day.")) as server:
        first = await evaluated(server, *arguments, "--trace", str(old))
    async with model_server(said("Hold the blue button for ten seconds.")) as server:
        second = await evaluated(server, *arguments, "--trace", str(new), "--against", str(old))
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert "was" not in first.stdout.split()
    (line,) = [one for one in second.stdout.splitlines() if one.startswith("draft_contains")]
    assert line.split()[:2] == ["draft_contains", "0"]
    assert line.split()[4:7] == ["was", "1", "-1"]
    assert "paired over the 2 questions that both asked" in second.stdout
    assert await asyncio.to_thread(old.read_text, encoding="utf-8")


async def test_without_the_large_model_nothing_is_sent_to_it(docs: Path, questions: Path) -> None:
    """Not to be graded either: mode `slm` is for who wants that."""
    async with model_server(GOOD) as server, model_server(said("9")) as large:
        arguments = [str(questions), "--docs", str(docs), "--limit", "1", "--json"]

        async def asked(mode: str) -> dict[str, object]:
            own = {"RAG_SLM_URL": server.url, "RAG_LLM_URL": large.url, "RAG_SLOTS": "1"}
            done = await asyncio.to_thread(run, "eval", *arguments, "--mode", mode, **own)
            assert done.returncode == 0, done.stderr
            found: dict[str, object] = json.loads(done.stdout)
            return found

        assert "judged" not in await asked("slm")
        assert large.bodies == []
        assert "judged" in await asked("hybrid")
        assert large.bodies


async def test_ctrl_c_keeps_what_is_done(docs: Path, questions: Path, tmp_path: Path) -> None:
    """Started again, only the rest is asked."""
    trace = tmp_path / "rows.jsonl"
    arguments = [str(questions), "--docs", str(docs), "--trace", str(trace)]
    async with model_server(GOOD, STALLED, GOOD) as server:
        own = environment(RAG_SLM_URL=server.url, RAG_SLOTS="1")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rag", "eval", *arguments, cwd=ROOT, env=own, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(60):
            while len(server.bodies) < 2:
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = await process.communicate()
        assert process.returncode == 130, errors
        assert b"Traceback" not in errors
        assert len(trace.read_text(encoding="utf-8").splitlines()) == 2  # the fingerprint and one row
        done = await evaluated(server, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["questions"] == 3
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        pytest.param(["none.jsonl"], 1, "there is no such file", id="no questions"),
        pytest.param(["QA", "--against", "none.json"], 1, "cannot be compared with", id="nothing to compare with"),
        pytest.param(["QA", "--trace", "QA"], 1, "is no trace", id="the questions as trace"),
        pytest.param(["QA", "--trace", "DOCS/rows.jsonl"], 1, "lies among the documents", id="a trace as document"),
        pytest.param(["QA", "--mode", "llm"], 1, "No large model is configured", id="no large model"),
        pytest.param(["QA", "--retrieval", "--mode", "slm"], 2, "it takes no --mode", id="a mode for the search"),
        pytest.param(["QA", "--limit", "0"], 2, "at least 1, was: 0", id="limit"),
    ],
)
async def test_what_cannot_be_measured_is_a_sentence(
    docs: Path, questions: Path, arguments: list[str], status: int, message: str
) -> None:
    """Nothing on standard output, and no traceback."""
    before = questions.read_bytes()
    async with model_server(GOOD) as server:
        named = [one.replace("QA", str(questions)).replace("DOCS", str(docs)) for one in arguments]
        done = await evaluated(server, *named, "--docs", str(docs))
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert questions.read_bytes() == before


async def test_a_model_that_is_not_there_is_not_measured(docs: Path, questions: Path) -> None:
    """Quotations alone would look like the figures of a model."""
    done = await asyncio.to_thread(run, "eval", str(questions), "--docs", str(docs), RAG_SLM_URL="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No model server at http://127.0.0.1:9/v1." in done.stderr

"""The command line, as a user runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model_server import DONE, HEAD, chunk, model_server, thought

ROOT = Path(__file__).parent.parent


def environment(**settings: str) -> dict[str, str]:
    """What a process of its own gets: these settings and no others."""
    others = ("RAG_", "SLM_", "LLM_", "BENCH_", "COMPARE_", "SHOW_", "FOUNDRY_", "HF_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    ours = {"PYTHONPATH": str(ROOT), "RAG_INDEX_DIR": "none", "RAG_CALIBRATION": "none", "RAG_MODELS_DIR": "none"}
    return {**kept, **ours, **settings}


def run(*arguments: str, cwd: Path = ROOT, **settings: str) -> subprocess.CompletedProcess[str]:
    """One command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "rag", *arguments], cwd=cwd, env=environment(**settings),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_search_prints_the_chunks_best_first(docs: Path) -> None:
    """With `--json`: one JSON document and nothing else."""
    done = run("search", "firewall port", "--docs", str(docs), "-k", "2", "--json")
    hits = json.loads(done.stdout)
    assert done.returncode == 0
    assert [hit["heading"] for hit in hits] == ["Ports › Firewall", "Ports"]
    assert set(hits[0]) == {"document", "also", "heading", "page", "start", "end", "score", "closeness", "text"}


def test_search_without_a_match_is_no_failure(docs: Path) -> None:
    """Nothing on standard output, a sentence on standard error."""
    done = run("search", "zebra", "--docs", str(docs))
    assert (done.returncode, done.stdout) == (0, "")
    assert "No document shares a word" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        pytest.param(["search", "x", "--docs", "/no/such"], 1, "No folder /no/such. Make it", id="no folder"),
        pytest.param(["search", "x", "-k", "0"], 2, "must be a whole number of at least 1, was: 0", id="k"),
        pytest.param([], 2, "required: COMMAND", id="no command"),
        pytest.param(["ask", "x", "--mode", "turbo"], 2, "invalid choice: 'turbo'", id="mode"),
    ],
)
def test_what_fails_says_why_on_standard_error(arguments: list[str], status: int, message: str) -> None:
    """1: the work failed, 2: wrong usage; never a traceback."""
    done = run(*arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_wrong_setting_is_a_sentence() -> None:
    """The same one as in the chat."""
    done = run("check", RAG_K="0")
    assert (done.returncode, done.stderr) == (1, "RAG_K must be at least 1, was: 0\n")


@pytest.mark.model
def test_ask_answers_with_the_embedded_model_as_json(docs: Path) -> None:
    """The answer and the message metadata, nothing else on standard output."""
    done = run("ask", "Which port does the chat listen on?", "--docs", str(docs), "--json", SHOW_USAGE="1")
    answer = json.loads(done.stdout)
    usage = answer["usage"]["slm"] or {"prompt": 0, "completion": 0}  # a stopped draft is not counted
    told = f"SmolLM2-135M-Instruct: {usage['prompt']} prompt and {usage['completion']} completion tokens"
    assert told in done.stderr or "SmolLM2-135M-Instruct: not counted" in done.stderr
    assert done.returncode == 0, done.stderr
    assert "8000" in answer["answer"]
    assert answer["sources"][0]["document"] == "ports.md"
    assert {stage["name"] for stage in answer["latency"]["stages"]} >= {"search", "evidence", "generate", "judge"}


@pytest.mark.anyio
async def test_ask_prints_no_reasoning_but_how_long_it_took(docs: Path) -> None:
    """It is in the JSON; in the terminal a note on standard error says whose it was."""
    counted = {"prompt_tokens": 9, "completion_tokens": 12, "completion_tokens_details": {"reasoning_tokens": 4}}
    end = [chunk(finish="stop"), chunk(choices=[], usage=counted), DONE]
    script = [HEAD, thought("Let me"), 0.12, thought(" look."), chunk("The chat listens on port 8000."), *end]
    question = ("ask", "Which port does the chat listen on?", "--docs", str(docs))
    async with model_server(script) as server:
        told = await asyncio.to_thread(run, *question, RAG_SLM_URL=server.url)
        told_as_json = await asyncio.to_thread(run, *question, "--json", RAG_SLM_URL=server.url)
    assert told.stdout.startswith("The chat listens on port 8000. [1]"), told.stderr
    assert "Let me" not in told.stdout + told.stderr
    assert "Thinking …" in told.stderr
    assert re.search(r"\nserved-model reasoned for \d+ ms\n", told.stderr)
    answer = json.loads(told_as_json.stdout)
    assert answer["answer"] == "The chat listens on port 8000. [1]"
    assert (answer["reasoning"]["text"], answer["reasoning"]["tokens"]) == ("Let me look.", 4)
    assert answer["usage"]["slm"] == {"prompt": 9, "completion": 12, "reasoning": 4}


@pytest.mark.model
def test_check_looks_at_everything_and_says_plainly_that_there_is_no_large_model(docs: Path) -> None:
    """A missing LLM is no fault; a missing document is listed with its reason."""
    (docs / "bad.md").write_bytes(b"\0")
    done = run("check", "--docs", str(docs), "--json")
    found = json.loads(done.stdout)
    states = {finding["name"]: finding["state"] for finding in found["findings"]}
    assert states == {
        "versions": "ok", "documents": "ok", "documents: bad.md": "missing", "documents: home/garden.txt": "ok",
        "documents: ports.md": "ok", "index": "ok", "memory": "ok", "calibration": "ok", "SLM": "ok", "LLM": "missing",
    }  # fmt: skip
    assert (found["ok"], done.returncode) == (True, 0)


def test_check_names_the_fault_and_the_remedy_of_a_server_that_is_not_there(docs: Path) -> None:
    """Exit status 1, and the setting to change."""
    done = run("check", "--docs", str(docs), RAG_SLM_URL="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "✗ SLM: No model server at http://127.0.0.1:9/v1. Start it, or set RAG_SLM_URL." in done.stdout


def test_eval_prints_the_figures_of_the_search(docs: Path, tmp_path: Path) -> None:
    """With `--json`: one JSON document with every figure; questions without answers are left out."""
    questions = tmp_path / "qa.jsonl"
    questions.write_text(
        '{"question": "Which port does the chat listen on?", "answers": ["8000"], "document": "ports.md"}\n'
        '{"question": "Who wrote it?", "answers": []}\n',
        encoding="utf-8",
    )
    done = run("eval", str(questions), "--docs", str(docs), "--retrieval", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["questions"], figures["answer_recall@1"], figures["evidence_recall"]) == (1, 1.0, 1.0)
    assert set(figures) == {
        "questions", "answer_recall@1", "answer_recall@3", "answer_recall@5", "answer_recall@10", "mrr@10",
        "context_words@5", "evidence_recall", "evidence_words", "search_ms_p50", "search_ms_p95", "chunks", "index_s",
    }  # fmt: skip


def test_eval_names_a_document_that_is_not_there(docs: Path, tmp_path: Path) -> None:
    """A wrong folder must not look like a bad search."""
    questions = tmp_path / "qa.jsonl"
    questions.write_text('{"question": "Why?", "answers": ["so"], "document": "gone.md"}', encoding="utf-8")
    done = run("eval", str(questions), "--docs", str(docs), "--retrieval")
    assert (done.returncode, done.stdout) == (1, "")
    assert "line 1 names gone.md, which is not in" in done.stderr
    assert "No question is left. Name the folder with --docs." in done.stderr
    with questions.open("a", encoding="utf-8") as more:
        more.write('\n{"question": "Which button must I hold?", "answers": ["reset"], "document": "ports.md"}')
    done = run("eval", str(questions), "--docs", str(docs), "--retrieval", "--json")
    assert (done.returncode, json.loads(done.stdout)["questions"]) == (0, 1)
    assert "names gone.md" in done.stderr


def test_the_folder_that_one_is_in_can_be_named(docs: Path) -> None:
    """`--docs .` is that folder, not the one of the settings; nothing of it is kept."""
    done = run("search", "tomatoes", "--docs", ".", "--json", cwd=docs)
    assert [hit["document"] for hit in json.loads(done.stdout)] == ["home/garden.txt"], done.stderr
    assert not (docs / ".index").exists()

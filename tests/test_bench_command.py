"""`python -m rag bench`, as a user runs it, against model servers that play scripts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rag.__main__ import main
from tests.model_server import DONE, HEAD, ModelServer, Step, chunk, model_server, models, status, usage
from tests.test_command_line import ROOT, environment, run

pytestmark = pytest.mark.anyio

LISTED = models("Phi-4-mini-instruct-generic-cpu:5")
STALLED: list[Step] = [HEAD, chunk("Well"), 60.0]


def said(*texts: str, counted: bool = True) -> list[Step]:
    """An answer in these pieces."""
    pieces: list[Step] = [step for text in texts for step in (0.01, chunk(text))]
    return [HEAD, *pieces, chunk(finish="stop"), *([usage(40, len(texts))] if counted else []), DONE]


GOOD = said("It", " is", " so.")


def said_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit status of a command in this process, and what it wrote on both streams."""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


async def benched(server: ModelServer, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One run with the server's model."""
    return await asyncio.to_thread(run, "bench", *arguments, **{"RAG_SLM_URL": server.url, **settings})


async def test_bench_prints_one_json_list_and_writes_the_same(tmp_path: Path) -> None:
    """With one warm-up for each model, and as many calls as there are rounds."""
    out = tmp_path / "rows.json"
    arguments = ["--models", "phi-4-mini", "--rounds", "2", "--label", "cpu", "--out", str(out), "--json"]
    async with model_server(GOOD, listed=LISTED) as server:
        done = await benched(server, *arguments)
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)
        assert json.loads(await asyncio.to_thread(out.read_text, encoding="utf-8")) == [row]
        assert (row["alias"], row["status"], row["label"], row["rounds_ok"]) == ("phi-4-mini", "ok", "cpu", 2)
        assert row["workshop_tokens_per_sec_avg"] > 10 * row["tokens_per_sec_avg"]
        assert len(server.bodies) == 3
        assert {body["model"] for body in server.bodies} == {"Phi-4-mini-instruct-generic-cpu:5"}
        again = await benched(server, *arguments)
        assert (again.returncode, again.stdout) == (1, "")
        assert "rows.json exists already. Name another file, or replace it with --force." in again.stderr
        assert len(server.bodies) == 3
        forced = await benched(server, *arguments, "--force", "--rounds", "1")
        assert (forced.returncode, json.loads(out.read_text())[0]["rounds"]) == (0, 1)


async def test_the_workshops_names_are_followed_and_flags_win() -> None:
    """What stands in a workshop user's environment already is what is done."""
    names = {
        "BENCH_MODELS": "slm", "BENCH_ROUNDS": "2", "BENCH_PROMPT": "From the environment?", "BENCH_STREAM": "0",
        "BENCH_MAX_TOKENS": "7", "BENCH_TEMPERATURE": "0.9",
    }  # fmt: skip
    async with model_server(GOOD, listed=LISTED) as server:
        (row,) = json.loads((await benched(server, "--json", **names)).stdout)
        bodies = server.bodies[1:]
        assert [body["messages"][0]["content"] for body in bodies] == ["From the environment?"] * 2
        assert {(body["max_tokens"], body["temperature"]) for body in bodies} == {(7, 0.9)}
        assert row["first_token_latency_avg"] is None
        flags = ["--rounds", "1", "--prompt", "By hand?", "--stream", "--max-tokens", "9", "--temperature", "0"]
        (row,) = json.loads((await benched(server, "--json", *flags, **names)).stdout)
        last = server.bodies[-1]
        assert (last["messages"][0]["content"], last["max_tokens"], last["temperature"]) == ("By hand?", 9, 0)
        assert row["first_token_latency_avg"] > 0


async def test_deterministic_means_temperature_0_and_the_fixed_prompts() -> None:
    """Eight prompts of four categories, whose facets are looked for."""
    async with model_server(said("Paris", " Seine", counted=False), listed=LISTED) as server:
        done = await benched(server, "--models", "slm", "--deterministic", "--rounds", "1", "--json")
        (row,) = json.loads(done.stdout)
    assert (row["prompts"], row["temperature"], row["tokens_counted"]) == (8, 0.0, "pieces")
    assert row["facets"] == 0.125  # those of one prompt in eight
    assert {body["temperature"] for body in server.bodies} == {0.0}


async def test_a_model_that_fails_costs_the_others_nothing() -> None:
    """A row with a status, a line with the reason, and exit status 0; 1 if all fail."""
    refused = [status(400, {"error": {"message": "must be loaded"}})]
    async with model_server(GOOD, listed=LISTED) as server, model_server(refused, listed=models("big")) as other:
        done = await benched(server, "--models", "slm,llm", "--rounds", "1", RAG_LLM_URL=other.url)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert [line.split()[:2] for line in lines[:3]] == [
            ["model", "status"],
            ["phi-4-mini", "ok"],
            ["big", "failed"],
        ]
        assert any(line.startswith("big: ") and "must be loaded" in line for line in lines)
        assert "Counting the prompt's tokens too, as the workshop did, would say" in done.stdout
        assert max(map(len, lines[:3])) <= 100
        none = await benched(server, "--models", "big", "--json", RAG_LLM_URL=other.url)
    assert none.returncode == 1
    assert json.loads(none.stdout)[0]["status"] == "failed"
    assert "Traceback" not in none.stderr


async def test_ctrl_c_keeps_what_is_measured(tmp_path: Path) -> None:
    """Printed and written, as one JSON document, with exit status 130."""
    out = tmp_path / "rows.json"
    async with model_server(GOOD, GOOD, STALLED, listed=LISTED) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rag", "bench", "--models", "slm", "--json", "--out", str(out), cwd=ROOT,
            env=environment(RAG_SLM_URL=server.url), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(120):
            while len(server.bodies) < 3:
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            printed, errors = await process.communicate()
    assert (process.returncode, errors) == (130, b"Stopped.\n")
    (row,) = json.loads(printed)
    assert (row["status"], row["rounds"], row["rounds_ok"]) == ("partial", 3, 1)
    assert json.loads(await asyncio.to_thread(out.read_text, encoding="utf-8")) == [row]


SLOW_TO_CLOSE = """
import asyncio, sys
from rag.backends.scripted import ScriptedBackend

class Slow(ScriptedBackend):
    async def stop(self):
        print("closing", file=sys.stderr, flush=True)
        await asyncio.sleep(60)

def make():
    return Slow("It is so.")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a signal of Unix")
@pytest.mark.parametrize("command", ["bench", "compare"])
async def test_a_stop_while_the_models_are_closed_costs_nothing_that_was_measured(tmp_path: Path, command: str) -> None:
    """All is measured by then."""
    (tmp_path / "slow.py").write_text(SLOW_TO_CLOSE, encoding="utf-8")
    options = ["--rounds", "1"] if command == "bench" else ["hello", "--no-evidence"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rag", command, *options, "--models", "slm", "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=tmp_path,
        env=environment(RAG_SLM_BACKEND="slow:make"),
    )  # fmt: skip
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while b"closing" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        printed, _ = await process.communicate()
    assert process.returncode == 130
    (row,) = json.loads(printed)
    assert (row["status"], row["sample"]) == ("ok", "It is so.")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["--models", "gone.gguf"], 1, "There is no file gone.gguf", id="no file"),
        pytest.param(["--prompts", "gone.json"], 1, "gone.json cannot be read", id="no prompts"),
        pytest.param(["--out", "docs/x.json"], 1, "lies among the documents", id="out as a document"),
        pytest.param(["--out", "rag"], 1, "rag is a folder. Name a file in it.", id="out is a folder"),
        pytest.param(["--out", "none/x.json"], 1, "There is no folder none to write x.json into", id="out in nothing"),
        pytest.param(["--deterministic", "--temperature", "1"], 2, "it takes no --temperature", id="two temperatures"),
        pytest.param(["--prompt", "a", "--prompts", "b"], 2, "not allowed with argument", id="two prompts"),
        pytest.param(["--prompt", " "], 2, "must not be empty", id="empty prompt"),
        pytest.param(["--rounds", "0"], 2, "at least 1, was: 0", id="rounds"),
        pytest.param(["--temperature", "hot"], 2, "must be a number from 0 to 2, was: hot", id="temperature"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    """Before a model is looked for: nothing on standard output."""
    found, printed, told = said_by(capsys, "bench", *arguments)
    assert (found, printed) == (code, "")
    assert message in told


async def test_an_unknown_name_is_a_sentence() -> None:
    """Before a model is asked, and no traceback."""
    async with model_server(GOOD, listed=LISTED) as server:
        done = await benched(server, "--models", "slm,phi-4-mni")
    assert (done.returncode, done.stdout, server.bodies) == (1, "", [])
    assert "Did you mean Phi-4-mini-instruct-generic-cpu:5?" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_server_that_is_down_is_a_row_without_a_key() -> None:
    """With what to do about it."""
    down = {"RAG_SLM_URL": "http://127.0.0.1:9", "RAG_SLM_API_KEY": "sk-secret"}
    done = await asyncio.to_thread(run, "bench", "--models", "slm", **down)
    assert done.returncode == 1
    assert "phi-4-mini: No model server at http://127.0.0.1:9/v1. Start it, or set RAG_SLM_URL." in done.stdout
    assert "sk-secret" not in done.stdout + done.stderr

"""`python -m rag calibrate`, as a user runs it, against a model server that plays a script."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rag.calibration import read_calibration
from rag.workbench.figures import ORACLE
from tests.model_server import DONE, HEAD, ModelServer, Step, chunk, model_server, usage
from tests.test_command_line import environment, run

pytestmark = pytest.mark.anyio

COUNT = 60
NAMES = [f"{first}{second}" for first in "bdfgklmnprst" for second in ("adel", "ebin", "ilor", "omun", "ukat")]


def said(text: str, *, logprob: float = -0.1) -> list[Step]:
    """A reply of one piece."""
    return [HEAD, chunk(text, logprob=logprob), chunk(finish="stop"), usage(50, 7), DONE]


# Every second draft is right, and the wrong ones are those that the model doubts.
SCRIPTS = [
    said(f"The engine has {100 + at} valves.") if at % 2 else said("The engine has nine wheels.", logprob=-2.5)
    for at in range(COUNT)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty small documents, and `qa.jsonl` beside them with a question on each, and a line that is none."""
    docs = tmp_path / "docs"
    docs.mkdir()
    lines = ["no JSON"]
    for at, name in enumerate(NAMES):
        text = f"The {name} engine has {100 + at} valves. It was built by hand.\n"
        (docs / f"{name}.md").write_text(text, encoding="utf-8")
        question = f"How many valves has the {name} engine?"
        lines.append(json.dumps({"question": question, "answers": [str(100 + at)], "document": f"{name}.md"}))
    (tmp_path / "qa.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


async def made(folder: Path, server: ModelServer, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One run in that folder, with the server's model, one question at a time."""
    own = {"RAG_SLM_URL": server.url, "RAG_SLOTS": "1", "RAG_CALIBRATION": ".calibration.json", **settings}
    named = ("qa.jsonl", "--docs", "docs", *arguments)
    return await asyncio.to_thread(lambda: run("calibrate", *named, cwd=folder, **own))


async def test_a_calibration_from_the_questions_to_the_file(folder: Path) -> None:
    """One JSON document on standard output; the file, the rows and the drawing are there; nothing is asked twice."""
    async with model_server(*SCRIPTS) as server:
        first = await made(folder, server, "--json", "--svg", "curve.svg", "--target", "0.9")
        assert first.returncode == 0, first.stderr
        asked = len(server.bodies)
        again = await made(folder, server, RAG_MIN_CONFIDENCE="0.3", RAG_EARLY_TOKENS="4")
        assert again.returncode == 0, again.stderr
        assert len(server.bodies) == asked == COUNT
    figures = json.loads(first.stdout)
    assert "qa.jsonl, line 1 is not JSON" in first.stderr
    assert (figures["model"], figures["large_model"], figures["target"]) == ("served-model", ORACLE, 0.9)
    assert (figures["drafts"], figures["right"]) == (COUNT, COUNT // 2)
    assert figures["auroc"]["calibrated"]["value"] > 0.95
    assert figures["held_out"] == {"by": "documents", "folds": 20}
    found = read_calibration(folder / ".calibration.json")
    assert (found.model, found.questions) == ("served-model", COUNT)
    assert found.target.startswith("95 %")  # the second run's
    assert f"Set RAG_MIN_CONFIDENCE={found.threshold:g}," in again.stdout
    assert "Now RAG_MIN_CONFIDENCE is 0.3, which counts more than the file." in again.stdout
    assert ORACLE in again.stdout
    rows = (folder / ".calibration.rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + COUNT
    assert (folder / "curve.svg").read_text(encoding="utf-8").startswith("<svg")


async def test_a_large_model_is_asked_for_every_draft(folder: Path) -> None:
    """Kept or not; every fifth of its answers is wrong, and the threshold aims at the others."""
    large = [said(f"It has {100 + at} valves." if at % 5 else "It has no wheels.") for at in range(COUNT)]
    async with model_server(*SCRIPTS) as small, model_server(*large) as big:
        done = await made(folder, small, "--json", RAG_LLM_URL=big.url, RAG_LLM_MODEL="served-model")
        assert done.returncode == 0, done.stderr
        assert len(small.bodies) == len(big.bodies) == COUNT
    figures = json.loads(done.stdout)
    assert figures["large_model"] == "served-model"
    assert figures["routers"]["always large"]["right"] == 0.8
    assert figures["routers"]["calibrated"]["right"] >= 0.95 * 0.8
    assert ORACLE not in done.stdout


async def test_ctrl_c_keeps_what_is_done(folder: Path) -> None:
    """No file of weights yet; started again, only the rest is asked."""
    stalled: list[Step] = [HEAD, chunk("The", logprob=-0.1), 60.0]
    async with model_server(*SCRIPTS[:5], stalled, *SCRIPTS[5:]) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rag", "calibrate", "qa.jsonl", "--docs", "docs", "--out", "own.json", cwd=folder,
            env=environment(RAG_SLM_URL=server.url, RAG_SLOTS="1"), stderr=subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):
            while len(server.bodies) < 6:
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = await process.communicate()
        assert process.returncode == 130, errors
        assert b"Traceback" not in errors
        assert b"kept in own.rows.jsonl" in errors
        assert not (folder / "own.json").exists()
        assert len((folder / "own.rows.jsonl").read_text(encoding="utf-8").splitlines()) == 1 + 5
        done = await made(folder, server, "--out", "own.json", "--json")
    assert done.returncode == 0, done.stderr
    assert len(server.bodies) == 1 + COUNT
    assert read_calibration(folder / "own.json").questions == json.loads(done.stdout)["drafts"] == COUNT


async def test_rows_of_other_settings_are_refused(folder: Path) -> None:
    """What shapes the drafts must be the same for all; the file of weights is left as it was."""
    async with model_server(*SCRIPTS) as server:
        first = await made(folder, server)
        before = (folder / ".calibration.json").read_bytes()
        other = await made(folder, server, RAG_K="2")
    assert first.returncode == 0, first.stderr
    assert (other.returncode, other.stdout) == (1, "")
    assert ".calibration.rows.jsonl was made with other settings" in other.stderr
    assert (folder / ".calibration.json").read_bytes() == before


async def test_drafts_that_are_all_right_are_refused(folder: Path) -> None:
    """Nothing can be told from them; what was asked is kept."""
    right = [said(f"The engine has {100 + at} valves.") for at in range(COUNT)]
    async with model_server(*right) as server:
        done = await made(folder, server)
    assert (done.returncode, done.stdout) == (1, "")
    assert "0 of the 60 judged drafts are wrong, and at least 15 of each kind are needed" in done.stderr
    assert not (folder / ".calibration.json").exists()
    assert (folder / ".calibration.rows.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        pytest.param(["--limit", "49"], 1, "has 49 questions to ask, and at least 50", id="few questions"),
        pytest.param(["--out", "none/own.json"], 1, "cannot be written", id="no folder for the weights"),
        pytest.param(["--out", "."], 1, "cannot be written", id="a folder in their place"),
        pytest.param(["--svg", "none/curve.svg"], 1, "cannot be written", id="no folder for the drawing"),
        pytest.param(["--out", "docs/own.json"], 1, "lies among the documents", id="weights as a document"),
        pytest.param(["--trace", "qa.jsonl"], 1, "must be different files", id="the questions as rows"),
        pytest.param(["--svg", ".calibration.json"], 1, "must be different files", id="the drawing as weights"),
        pytest.param(["--target", "0"], 2, "above 0 and up to 1, such as 0.95, was: 0", id="no target"),
        pytest.param(["--target", "95"], 2, "above 0 and up to 1, such as 0.95, was: 95", id="a target in percent"),
        pytest.param(["--target", "nan"], 2, "above 0 and up to 1", id="no number"),
    ],
)
async def test_what_cannot_end_well_is_a_sentence_before_anything_is_asked(
    folder: Path, arguments: list[str], status: int, message: str
) -> None:
    """Nothing on standard output, no traceback, no file."""
    before = sorted(path.name for path in folder.rglob("*"))
    async with model_server(*SCRIPTS) as server:
        done = await made(folder, server, *arguments)
        assert server.bodies == []
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_without_a_place_for_the_weights_nothing_is_asked(folder: Path) -> None:
    """RAG_CALIBRATION=none, and no --out."""
    done = run("calibrate", "qa.jsonl", "--docs", "docs", cwd=folder, RAG_CALIBRATION="none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "RAG_CALIBRATION is none. Name the file for the weights with --out." in done.stderr
    assert "Traceback" not in done.stderr

"""`python -m rag compare`, as a user runs it, against model servers that play scripts."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.model_server import ModelServer, Step, model_server, models, status
from tests.test_bench_command import said, said_by
from tests.test_command_line import ROOT, environment, run

pytestmark = pytest.mark.anyio

SLM, LLM = said("It", " is", " 8000."), said("The", " chat", " listens", " on", " port", " 8000.")
MARKS = '{"coherence": 4, "factuality": 5, "brevity": 3}'
ASKED = "Which port does the chat listen on?"


class Pair:
    """A small and a large model, each on a server of its own."""

    def __init__(self, small: ModelServer, large: ModelServer) -> None:
        self.small, self.large = small, large

    async def compare(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """One run with both."""
        own = {"RAG_SLM_URL": self.small.url, "RAG_LLM_URL": self.large.url, **settings}
        return await asyncio.to_thread(run, "compare", *arguments, **own)


@pytest.fixture
async def pair() -> Any:
    """Both answer; the large one also marks, whatever it is asked after its greeting and its answer."""
    judged: list[Step] = said(MARKS)
    async with (
        model_server(SLM, listed=models("phi-4-mini")) as small,
        model_server(LLM, LLM, judged, listed=models("gpt-oss-20b")) as large,
    ):
        yield Pair(small, large)


async def test_both_are_asked_the_same_with_what_the_documents_say(pair: Pair, docs: Path) -> None:
    """One JSON list, the workshop's names first; the temperature is the chat's, and the tokens are the workshop's."""
    done = await pair.compare(ASKED, "--docs", str(docs), "--json", RAG_TEMPERATURE="0.4")
    assert done.returncode == 0, done.stderr
    slm, llm = json.loads(done.stdout)
    assert list(slm)[:4] == ["alias", "latency_sec", "tokens", "sample"]
    assert [(row["alias"], row["tokens"], row["text"]) for row in (slm, llm)] == [
        ("phi-4-mini", 3, "It is 8000."),
        ("gpt-oss-20b", 6, "The chat listens on port 8000."),
    ]
    assert (slm["token_delta"], slm["evidence"][0]["document"]) == (-3, "ports.md")
    assert slm["cost_cloud_equivalent"] == pytest.approx((40 * 0.15 + 3 * 0.60) / 1e6)
    asked, same = pair.small.bodies[-1], pair.large.bodies[-1]
    assert asked["messages"] == same["messages"]
    assert "The chat listens on port 8000." in asked["messages"][-1]["content"]
    assert (asked["max_tokens"], asked["temperature"]) == (160, 0.4)


async def test_the_documents_can_be_left_out_and_are_where_they_say_nothing(pair: Pair, docs: Path) -> None:
    """It is said so; whoever insists is told instead. The prompt may come from the workshop's variable."""
    without = await pair.compare("--no-evidence", "--docs", str(docs), "--json", COMPARE_PROMPT=ASKED)
    assert [row["prompt"] for row in json.loads(without.stdout)] == [ASKED, ASKED]
    assert pair.small.bodies[-1]["messages"] == [{"role": "user", "content": ASKED}]
    nothing = await pair.compare("Zebra xylophone?", "--docs", str(docs), "--json")
    assert (nothing.returncode, json.loads(nothing.stdout)[0]["evidence"]) == (0, [])
    assert "The documents have nothing on this prompt: the models are asked without them." in nothing.stderr
    insisted = await pair.compare("Zebra xylophone?", "--docs", str(docs), "--evidence")
    assert (insisted.returncode, insisted.stdout) == (1, "")
    assert "Ask another one, or take --no-evidence." in insisted.stderr
    no_folder = await pair.compare(ASKED, "--docs", "/no/such")
    assert no_folder.returncode == 0
    assert "No folder /no/such." in no_folder.stderr
    assert "asked without documents" in no_folder.stderr


async def test_a_person_gets_the_answers_and_a_table(pair: Pair) -> None:
    """A cost that is not known is a dash; what the columns mean stands below."""
    done = await pair.compare(ASKED, "--no-evidence", "--together", RAG_CLOUD_PRICE_IN="none")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["── phi-4-mini ──", "It is 8000."]
    (row,) = [line.split() for line in lines if line.startswith("phi-4-mini ")]
    assert (row[3], row[-2], row[-1]) == ("3", "-3", "–")
    assert "speed-up and Δ tokens are against gpt-oss-20b." in lines
    assert "models on one machine slow each other down" in done.stderr


async def test_a_missing_large_model_is_a_row_with_an_error_and_only_all_failing_is_a_failure(pair: Pair) -> None:
    """The small one is shown all the same."""
    done = await asyncio.to_thread(run, "compare", "--no-evidence", "--json", RAG_SLM_URL=pair.small.url)
    slm, llm = json.loads(done.stdout)
    assert (done.returncode, slm["status"], llm["alias"]) == (0, "ok", "gpt-oss-20b")
    assert llm["error"].startswith("There is no large model")
    nobody = {"RAG_SLM_URL": "http://127.0.0.1:9", "RAG_LLM_URL": "http://127.0.0.1:9"}
    failed = await asyncio.to_thread(run, "compare", "--no-evidence", "--json", **nobody)
    assert failed.returncode == 1
    assert ["error" in row for row in json.loads(failed.stdout)] == [True, True]


async def test_a_judge_marks_the_answers_and_says_where_one_is_its_own(pair: Pair) -> None:
    """The large model, unless another is named."""
    done = await pair.compare(ASKED, "--no-evidence", "--judge", "--json")
    slm, llm = json.loads(done.stdout)
    assert slm["scores"] == {"coherence": 4, "factuality": 5, "brevity": 3}
    assert [row["judge"] for row in (slm, llm)] == ["gpt-oss-20b"] * 2
    assert [row["judged_itself"] for row in (slm, llm)] == [False, True]
    assert "gpt-oss-20b marked its own answer: do not rely on these marks." in done.stderr
    assert "phi-4-mini marked" not in done.stderr


@pytest.mark.parametrize(
    ("address", "listed"),
    [
        pytest.param("http://localhost:{}/v1", models("m"), id="another spelling of the address"),
        pytest.param("http://127.0.0.1:{}", status(404, {}), id="a server that lists nothing"),
    ],
)
async def test_a_judge_is_the_judged_model_under_whatever_name_it_is_reached(address: str, listed: bytes) -> None:
    """What the server says has answered tells."""
    async with model_server(said(MARKS), listed=listed) as server:
        large = address.format(server.url.rsplit(":", 1)[1])
        done = await asyncio.to_thread(
            run, "compare", ASKED, "--no-evidence", "--models", "slm", "--judge", "llm", "--json",
            RAG_SLM_URL=server.url, RAG_LLM_URL=large,
        )  # fmt: skip
    (row,) = json.loads(done.stdout)
    assert (row["scores"]["coherence"], row["judged_itself"]) == (4, True)
    assert "marked its own answer" in done.stderr


async def test_a_judge_that_cannot_be_read_or_is_not_there_is_said(pair: Pair) -> None:
    """Null, and the comparison stands; without any judge nothing is asked."""
    done = await pair.compare(ASKED, "--no-evidence", "--models", "slm", "--judge", "phi-4-mini", "--json")
    (row,) = json.loads(done.stdout)
    assert (done.returncode, row["scores"], row["judged_itself"]) == (0, None, True)
    assert "gave no marks that can be read for phi-4-mini." in done.stderr
    before = len(pair.small.bodies)
    none = await asyncio.to_thread(run, "compare", "--no-evidence", "--judge", RAG_SLM_URL=pair.small.url)
    assert (none.returncode, none.stdout) == (1, "")
    assert "There is no judge. There is no large model" in none.stderr
    assert len(pair.small.bodies) == before


async def test_marks_by_hand_come_back_in_the_table(pair: Pair, tmp_path: Path) -> None:
    """The file is written, filled in, and read; no model is asked again."""
    path = tmp_path / "marks.json"
    made = await pair.compare(ASKED, "--no-evidence", "--annotate", str(path))
    assert made.returncode == 0, made.stderr
    assert f"then python -m rag compare --scores {path}" in made.stderr
    text = await asyncio.to_thread(path.read_text, encoding="utf-8")
    assert text.count('"coherence": null') == 2
    path.write_text(text.replace('"coherence": null', '"coherence": 4'), encoding="utf-8")
    before = len(pair.small.bodies)
    shown = await pair.compare("--scores", str(path))
    assert (shown.returncode, len(pair.small.bodies)) == (0, before)
    assert "Marks from 1 to 5: by hand." in shown.stdout
    (row,) = [line.split() for line in shown.stdout.splitlines() if line.startswith("phi-4-mini ")]
    assert row[-3:] == ["4", "–", "–"]
    path.write_text(text.replace('"coherence": null', '"coherence": 9', 1), encoding="utf-8")
    wrong = await pair.compare("--scores", str(path))
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "row 1: coherence must be a whole number from 1 to 5, or null, was: 9" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["x", "--scores", "f"], 2, "beside it only --json has a meaning", id="scores and a prompt"),
        pytest.param(["--scores", "f"], 2, "beside it only --json has a meaning", id="scores and no evidence"),
        pytest.param(["--annotate", "README.md"], 1, "README.md exists already", id="annotate over a file"),
        pytest.param(["--annotate", "a", "--out", "a"], 2, "name the same file", id="the same file"),
        pytest.param([""], 2, "must not be empty", id="empty prompt"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    """Before a model is looked for: nothing on standard output."""
    found, printed, told = said_by(capsys, "compare", "--no-evidence", *arguments)
    assert (found, printed) == (code, "")
    assert message in told


@pytest.mark.parametrize(
    "beside", [["--max-tokens", "160"], ["--label", "x"], ["--force"], ["--together"], ["--no-evidence"], ["--judge"]]
)
def test_what_means_nothing_beside_scores_is_refused(capsys: pytest.CaptureFixture[str], beside: list[str]) -> None:
    """Whoever gives it wants something that would not happen."""
    found, printed, told = said_by(capsys, "compare", "--scores", "f", *beside)
    assert (found, printed) == (2, "")
    assert "beside it only --json has a meaning" in told
    found, printed, told = said_by(capsys, "compare", "--scores", "gone.json", "--json")
    assert (found, printed) == (1, "")
    assert "gone.json cannot be read" in told


async def on_a_terminal(columns: int, *arguments: str, **settings: str) -> tuple[int, str]:
    """One run with a terminal of so many places: its exit status and what it wrote there."""
    pty = pytest.importorskip("pty")
    import fcntl
    import struct
    import termios

    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rag", *arguments, cwd=ROOT, env=environment(TERM="xterm", **settings),
        stdin=child, stdout=child, stderr=child,
    )  # fmt: skip
    os.close(child)

    def read() -> str:
        written = b""
        while True:
            try:
                more = os.read(parent, 65536)
            except OSError:  # Linux's way to say that nobody writes any more
                return written.decode()
            if not more:
                return written.decode()
            written += more

    async with asyncio.timeout(120):
        written = await asyncio.to_thread(read)
        code = await process.wait()
    os.close(parent)
    return code, written.replace("\r\n", "\n")


async def test_on_a_wide_terminal_the_answers_grow_in_columns(pair: Pair) -> None:
    """And stand there once; on a narrow one, one below the other."""
    urls = {"RAG_SLM_URL": pair.small.url, "RAG_LLM_URL": pair.large.url}
    code, wide = await on_a_terminal(100, "compare", ASKED, "--no-evidence", **urls)
    assert code == 0, wide
    last = wide.split("\x1b[J")[-1].splitlines()
    assert last[0].split() == ["phi-4-mini", "│", "gpt-oss-20b"]
    assert last[2] == f"{'It is 8000.':48} │ The chat listens on port 8000."
    assert last[3].startswith("model ")
    code, narrow = await on_a_terminal(60, "compare", ASKED, "--no-evidence", **urls)
    assert code == 0, narrow
    assert "── phi-4-mini ──\nIt is 8000.\n── gpt-oss-20b ──\n" in narrow
    assert "\x1b" not in narrow

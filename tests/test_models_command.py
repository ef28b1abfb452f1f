"""`python -m rag models`, as a user runs it, against a hub on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.__main__ import main
from rag.backends.chosen import Kept, ModelsFolder
from rag.backends.embedded import find_embedded_model
from rag.commands.models import progress_text
from tests.hub_server import HubServer, hub_server
from tests.test_command_line import ROOT, environment, run

BYTES = b"GGUF" + bytes(range(256)) * 12_000
SMALL = "qwen2.5-0.5b"
FILE = "qwen2.5-0.5b-instruct-q4_k_m.gguf"


@pytest.fixture
def server() -> Iterator[HubServer]:
    """A hub that has the file."""
    with hub_server(BYTES) as server:
        yield server


class Command:
    """The command, run in this process."""

    def __init__(self, environment: pytest.MonkeyPatch, printed: pytest.CaptureFixture[str]) -> None:
        self._environment, self._printed = environment, printed

    def __call__(
        self, *arguments: str, folder: Path, hub: HubServer | None = None, **settings: str
    ) -> tuple[int, str, str]:
        """The exit status, and what was printed."""
        url = hub.url if hub else "http://127.0.0.1:9"
        with self._environment.context() as ours:
            for name, value in {"RAG_MODELS_DIR": str(folder), "RAG_HUB_URL": url, **settings}.items():
                ours.setenv(name, value)
            status = main(["models", *arguments])
        out, err = self._printed.readouterr()
        return status, out, err

    def listed(self, folder: Path, **settings: str) -> dict[str, dict[str, object]]:
        """The rows of the list, by name."""
        status, out, _ = self("--json", folder=folder, **settings)
        assert status == 0
        return {row["name"]: row for row in json.loads(out)["models"]}


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `python -m rag models` with these arguments."""
    return Command(monkeypatch, capsys)


def test_the_list_says_what_there_is_and_what_fits_and_changes_nothing(models: Command, tmp_path: Path) -> None:
    """As a table, and with `--json` as one document; without a network too."""
    folder = tmp_path / ".models"
    status, out, err = models(folder=folder)
    assert (status, err) == (0, "")
    for word in ("phi-4-mini", "gpt-oss-20b", "SLM", "LLM", "apache-2.0", "mit", "This machine: ", "models get NAME"):
        assert word in out
    found = json.loads(models("--json", folder=folder)[1])
    assert set(found) == {"folder", "machine", "models"}
    assert set(found["machine"]) == {"memory_total", "memory_available", "disk_free"}
    for row in found["models"]:
        assert set(row) == {
            "name", "role", "repo", "file", "bytes", "licence", "about", "memory_needed", "fits", "downloaded",
            "begun", "chosen_as", "in_use_as", "fault",
        }  # fmt: skip
        assert row["fits"] in ("yes", "tight", "no", None)
    assert not folder.exists()


def test_one_command_downloads_and_the_list_shows_it_in_use(models: Command, tmp_path: Path, server: HubServer) -> None:
    """Then it is there, and asked for again it is not downloaded again; another role takes it too."""
    folder = tmp_path / ".models"
    status, out, err = models("get", SMALL, folder=folder, hub=server)
    assert (status, err) == (0, "")
    assert out.startswith(f"{SMALL} is downloaded and checked: {folder / FILE} (3 MB, SHA-256 ")
    assert f"{SMALL} is chosen as the SLM; a chat that runs follows when it is started again." in out
    row = models.listed(folder)[SMALL]
    assert (row["downloaded"], row["in_use_as"], row["bytes"]) == (True, ["slm"], len(BYTES))
    assert "downloaded, in use as SLM" in models(folder=folder)[1]
    status, out, _ = models("get", SMALL, "--as", "llm", "--json", folder=folder)
    found = json.loads(out)
    assert (status, found["fresh"], found["role"]) == (0, False, "llm")
    assert found["sha256"] == hashlib.sha256(BYTES).hexdigest()
    assert models.listed(folder)[SMALL]["in_use_as"] == ["slm", "llm"]
    assert len(server.downloads) == 1


def test_a_role_can_be_given_and_taken_and_a_file_deleted(models: Command, tmp_path: Path, server: HubServer) -> None:
    """`use`, `use none` and `drop`."""
    folder = tmp_path / ".models"
    models("get", SMALL, folder=folder, hub=server)
    assert models("use", SMALL, "--as", "llm", folder=folder)[0] == 0
    assert models("use", "none", "--as", "slm", folder=folder)[1].startswith("No downloaded file is the SLM now")
    assert models.listed(folder)[SMALL]["in_use_as"] == ["llm"]
    status, out, _ = models("drop", SMALL, folder=folder)
    assert (status, out) == (
        0,
        f"{SMALL} is deleted. It was the LLM; without it the next one in the order is taken.\n",
    )
    assert models.listed(folder)[SMALL]["downloaded"] is False
    assert not (folder / FILE).exists()


def test_a_setting_that_wins_is_named(models: Command, tmp_path: Path, server: HubServer) -> None:
    """When it comes, and in the list; the file is chosen all the same."""
    folder = tmp_path / ".models"
    above = {"RAG_SLM_URL": "http://127.0.0.1:9"}
    status, _, err = models("get", SMALL, folder=folder, hub=server, **above)
    assert (status, err) == (0, "RAG_SLM_URL is set and wins over it: take that setting out.\n")
    row = models.listed(folder, **above)[SMALL]
    assert (row["chosen_as"], row["in_use_as"]) == (["slm"], [])
    out = models(folder=folder, **above)[1]
    assert "downloaded, chosen as SLM" in out
    assert "RAG_SLM_URL is set and wins over a downloaded SLM." in out


def test_a_mirror_and_a_key_are_set_by_the_names_that_others_use_too(
    models: Command, tmp_path: Path, server: HubServer
) -> None:
    """`HF_ENDPOINT` and `HF_TOKEN`; the key is printed nowhere."""
    others = {"HF_ENDPOINT": server.url, "HF_TOKEN": "hf_secret", "RAG_HUB_URL": ""}
    status, out, err = models("get", SMALL, folder=tmp_path / ".models", hub=server, **others)
    assert status == 0
    assert {one.headers["authorization"] for one in server.asked} == {"Bearer hf_secret"}
    assert "hf_secret" not in out + err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["get", "phi4"], "No model 'phi4' can be downloaded. Did you mean phi-4-mini?", id="name"),
        pytest.param(["get", SMALL], "cannot be reached. Is there a network? Nothing was changed.", id="no network"),
        pytest.param(["use", SMALL], f"{SMALL} is not downloaded. Run python -m rag models get", id="use"),
        pytest.param(["use", "none"], "Say which model: --as slm, or --as llm.", id="use none"),
        pytest.param(["drop", SMALL], "is not downloaded, so there is nothing to delete.", id="drop"),
    ],
)
def test_what_fails_is_a_sentence_and_changes_nothing(
    models: Command, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    """Exit status 1, nothing on standard output, no folder made."""
    status, out, err = models(*arguments, folder=tmp_path / ".models")
    assert (status, out) == (1, "")
    assert sentence in err
    assert not (tmp_path / ".models").exists()


def test_a_wrong_checksum_leaves_nothing_and_fails(models: Command, tmp_path: Path, server: HubServer) -> None:
    """Neither the bytes nor a choice."""
    server.sha256 = "0" * 64
    status, out, err = models("get", SMALL, folder=tmp_path / ".models", hub=server)
    assert (status, out) == (1, "")
    assert "its SHA-256 differs. It was deleted." in err
    assert list((tmp_path / ".models").iterdir()) == []


def test_a_model_that_the_list_has_no_more_is_still_shown_and_can_be_deleted(models: Command, tmp_path: Path) -> None:
    """It was downloaded with an older version of the chat; it cannot be downloaded again."""
    (tmp_path / "old.gguf").write_bytes(BYTES)
    ModelsFolder(tmp_path).keep(Kept("old-one", "old.gguf", len(BYTES), "0" * 64, "someone/old", "a" * 40), "slm")
    assert models.listed(tmp_path)["old-one"]["in_use_as"] == ["slm"]
    assert models("use", "old-one", "--as", "llm", folder=tmp_path)[0] == 0
    assert models("get", "old-one", folder=tmp_path)[2].startswith("No model 'old-one' can be downloaded.")
    assert models("drop", "old-one", folder=tmp_path)[0] == 0
    assert not (tmp_path / "old.gguf").exists()


def test_switched_off_it_says_so(models: Command, tmp_path: Path) -> None:
    """`RAG_MODELS_DIR=none`: the list is still there."""
    assert models(folder=Path("none"))[0] == 0
    status, _, err = models("get", SMALL, folder=Path("none"))
    assert (status, err) == (1, "Downloading models is switched off: RAG_MODELS_DIR is none. Set it to a folder.\n")


def test_a_state_file_that_cannot_be_read_is_said_and_the_list_is_shown(models: Command, tmp_path: Path) -> None:
    """Exit status 1: something is to be mended."""
    (tmp_path / "chosen.json").write_text("{")
    status, out, err = models(folder=tmp_path)
    assert status == 1
    assert "chosen.json cannot be read" in err
    assert "phi-4-mini" in out


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_keeps_what_came_and_the_same_command_goes_on(
    models: Command, tmp_path: Path, server: HubServer
) -> None:
    """Exit status 130, a sentence, and the rest is asked for the next time."""
    folder = tmp_path / ".models"
    server.cut, server.stall = [1_000_000], True
    process = subprocess.Popen(
        [sys.executable, "-m", "rag", "models", "get", SMALL], cwd=ROOT, text=True,
        env=environment(RAG_MODELS_DIR=str(folder), RAG_HUB_URL=server.url),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert server.stalling.wait(30)
    until = time.monotonic() + 30  # sent is not yet received
    while not any(part.stat().st_size for part in folder.glob(".*.part")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err == "What came so far is kept: the same command goes on from there.\nStopped.\n"
    assert models.listed(folder)[SMALL]["begun"] is True
    [part] = folder.glob("*.part")
    came = part.stat().st_size
    assert models("get", SMALL, folder=folder, hub=server)[0] == 0
    assert server.downloads[-1].headers["range"] == f"bytes={came}-"
    assert (folder / FILE).read_bytes() == BYTES


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_disk_that_fills_meanwhile_is_a_sentence_and_what_came_is_kept(
    models: Command, tmp_path: Path, server: HubServer
) -> None:
    """Here a limit of the process on the length of a file stands for the disk."""
    import resource

    folder = tmp_path / ".models"
    done = subprocess.run(
        [sys.executable, "-m", "rag", "models", "get", SMALL], cwd=ROOT, text=True, capture_output=True, timeout=60,
        env=environment(RAG_MODELS_DIR=str(folder), RAG_HUB_URL=server.url), check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{folder} cannot be written (File too large). What came so far is kept." in done.stderr
    assert "Traceback" not in done.stderr
    assert [part.stat().st_size for part in folder.glob(".*.part")] == [1_000_000]
    assert models("get", SMALL, folder=folder, hub=server)[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of this kind")
def test_a_terminal_shows_how_far_it_is(tmp_path: Path, server: HubServer) -> None:
    """A bar on standard error, of the download and of the check; standard output has the result alone."""
    import pty

    screen, end = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "rag", "models", "get", SMALL, "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=end,
        env=environment(RAG_MODELS_DIR=str(tmp_path / ".models"), RAG_HUB_URL=server.url), timeout=60, check=True,
    )  # fmt: skip
    os.close(end)
    shown = os.read(screen, 100_000).decode()
    os.close(screen)
    assert json.loads(done.stdout)["name"] == SMALL
    assert f"{SMALL} [####################] 100 %  3 MB of 3 MB" in shown
    assert f"{SMALL} [####################] 100 % checked" in shown
    assert shown.endswith("\n")


@pytest.mark.parametrize(
    ("done", "fresh", "seconds", "text"),
    [
        pytest.param(0, 0, 0.0, "x [....................]   0 %  0 kB of 2.0 GB", id="nothing yet"),
        pytest.param(1_000_000_000, 10_000_000, 0.5, "x [##########..........]  50 %  1.0 GB of 2.0 GB", id="too soon"),
        pytest.param(
            1_000_000_000, 50_000_000, 2.0, "x [##########..........]  50 %  1.0 GB of 2.0 GB, 25 MB/s, 40 s left",
            id="resumed: the rate is of this run",
        ),
        pytest.param(
            200_000_000, 200_000_000, 1000.0,
            "x [##..................]  10 %  200 MB of 2.0 GB, 200 kB/s, 2 h 30 min left", id="slow",
        ),
    ],
)  # fmt: skip
def test_progress_says_bytes_rate_and_time_left(done: int, fresh: int, seconds: float, text: str) -> None:
    """The rate once there is a second of it."""
    assert progress_text("x", "download", done, 2_000_000_000, fresh=fresh, seconds=seconds) == text


@pytest.mark.model
def test_a_real_model_comes_in_pieces_and_answers(models: Command, tmp_path: Path, docs: Path) -> None:
    """
    The embedded model's own file, a stand-in under another's name, cut in the middle: one command has it, and the next
    question is answered by it, as SLM and as LLM.
    """
    content = find_embedded_model().read_bytes()
    folder = tmp_path / ".models"
    with hub_server(content, cut=[len(content) // 2, 1_000_000]) as server:
        status, _, err = models("get", SMALL, folder=folder, hub=server)
        assert (status, err) == (0, "")
        assert len(server.downloads) == 3
    assert hashlib.sha256((folder / FILE).read_bytes()).digest() == hashlib.sha256(content).digest()
    done = run("ask", "Which port does the chat listen on?", "--docs", str(docs), "--json", RAG_MODELS_DIR=str(folder))
    answer = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert "8000" in answer["answer"]
    assert answer["usage"]["slm"]["completion"] > 0
    models("use", SMALL, "--as", "llm", folder=folder)
    large = run(
        "ask", "Which port does the chat listen on?", "--docs", str(docs), "--mode", "llm", "--json",
        RAG_MODELS_DIR=str(folder),
    )  # fmt: skip
    answer = json.loads(large.stdout)
    assert answer["model"] == "qwen2.5-0.5b-instruct-q4_k_m"
    assert answer["usage"]["llm"]["completion"] > 0

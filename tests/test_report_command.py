"""`python -m rag report`, as a user runs it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.report_kit import bench, trace, write
from tests.test_command_line import run
from tests.test_evaluate_figures import made


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two recordings and a trace."""
    return [
        str(write(tmp_path / "cpu.json", [bench(), bench("gpt-oss-20b", 8.0), {"alias": "bad", "error": "boom"}])),
        str(write(tmp_path / "gpu.json", [bench(label="gpu", latency=0.5)])),
        str(trace(tmp_path / "run.jsonl", [made()], models=("phi-4-mini",))),
    ]


def test_report_prints_markdown(files: list[str]) -> None:
    """To standard output, with nothing on standard error; the prices are those of the settings."""
    done = run("report", *files, RAG_CLOUD_PRICE_IN="1", RAG_CLOUD_PRICE_OUT="10")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# Models side by side\n")
    assert "gpu is 4 times as fast as cpu" in done.stdout
    assert "run: at this mix, without the large model: 0.2 s and 0 ¢ a question, against 8 s and 0.2 ¢" in done.stdout


def test_json_is_one_document(files: list[str]) -> None:
    """And null is what nobody knows."""
    done = run("report", *files, files[0], "--format", "json", "--watts", "30", RAG_CLOUD_PRICE_IN="none")
    found = json.loads(done.stdout)
    assert list(found) == ["models", "side_by_side", "mixes", "choice", "energy", "notes"]
    assert [line["cents"] for line in found["models"]] == [None] * 4
    assert found["energy"]["watts"] == 30
    assert done.stderr == "cpu.json is named twice and read once.\n"


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        pytest.param("report.md", "# Models", id="Markdown"),
        pytest.param("report.CSV", "alias,", id="CSV"),
        pytest.param("report.json", "{", id="JSON"),
        pytest.param("report.html", "<!doctype html>", id="HTML"),
    ],
)
def test_a_file_is_written_as_it_is_called(files: list[str], tmp_path: Path, name: str, begins: str) -> None:
    """Standard output stays empty; where it is, is told."""
    done = run("report", *files, "--out", str(tmp_path / name))
    assert (done.returncode, done.stdout) == (0, "")
    assert f"The report is in {tmp_path / name}." in done.stderr
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)


def test_an_existing_file_is_kept_unless_told_otherwise(files: list[str], tmp_path: Path) -> None:
    """Whatever is in it."""
    out = write(tmp_path / "report.md", "mine")
    refused = run("report", *files, "--out", str(out))
    assert refused.returncode == 1
    assert "exists. Name another file, or write over it with --force." in refused.stderr
    assert out.read_text(encoding="utf-8") == "mine"
    assert run("report", *files, "--out", str(out), "--force").returncode == 0
    assert out.read_text(encoding="utf-8").startswith("# Models")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        pytest.param(["none.json"], 1, "There is no file none.json", id="missing file"),
        pytest.param([], 2, "required: FILE", id="no file"),
        pytest.param(["CPU", "--watts", "0"], 2, "must be a power above 0", id="no power"),
        pytest.param(["CPU", "--watts", "nan"], 2, "must be a power above 0", id="power that is no number"),
        pytest.param(["CPU", "--format", "pdf"], 2, "invalid choice: 'pdf'", id="unknown form"),
        pytest.param(["CPU", "--out", "TMP/x.pdf"], 1, "must end with one of .md", id="unknown ending"),
        pytest.param(["CPU", "--out", "CPU", "--force"], 1, "is one of the recordings", id="over a recording"),
        pytest.param(["CPU", "--out", "TMP/none/x.md"], 1, "cannot be written", id="no folder"),
        pytest.param(["CPU", "--out", "TMP", "--format", "csv"], 1, "is a folder", id="a folder"),
        pytest.param(["CPU", "--out", "TMP/" + "x" * 300 + ".md"], 1, "cannot be written", id="a name too long"),
        pytest.param(["CPU", "--out", "docs/x.md"], 1, "lies among the documents", id="among the documents"),
        pytest.param(["RUN", "--format", "csv"], 1, "CSV has a row a model", id="no row for CSV"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    files: list[str], tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    """Nothing on standard output, no traceback, and the recordings stay as they are."""
    before = Path(files[0]).read_bytes()
    names = {"CPU": files[0], "RUN": files[2]}
    done = run("report", *(names.get(one, one.replace("TMP", str(tmp_path))) for one in arguments))
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert Path(files[0]).read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_is_told(files: list[str]) -> None:
    """And no half of a report is called one."""
    done = run("report", *files, "--out", "/dev/full", "--format", "html", "--force")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours_is_told(files: list[str], tmp_path: Path) -> None:
    """With the system's reason."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    done = run("report", *files, "--out", str(closed / "x.md"))
    assert done.returncode == 1
    assert "cannot be written (Permission denied)" in done.stderr

"""Loading a folder into Qdrant: what breaks off goes on, and what is there is kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rag.errors import DocumentsError
from rag.qdrant import Collection, Progress, QdrantIndex, Server, load
from tests.qdrant_kit import ROOT, core_behind_http, folder_of, needs_core, texts, way_to_it  # noqa: F401 - fixtures

pytestmark = needs_core


def test_a_load_that_was_killed_goes_on_with_what_is_missing(double: Any, server: Server, tmp_path: Path) -> None:
    """Killed between two requests; what was acknowledged is there, and is neither read nor written again."""
    folder = folder_of(tmp_path / "docs", 400)
    reached, held = threading.Event(), threading.Event()
    seen = []

    def hold(method: str, path: str) -> None:
        if (method, path) == ("PUT", "/collections/docs/points"):
            seen.append(path)
            if len(seen) == 3:
                reached.set()
                held.wait(20)
                raise ConnectionError

    double.on_request = hold
    program = (
        "import sys; from pathlib import Path; from rag.qdrant import Server, load;"
        "load(Server(sys.argv[1]), 'docs', Path(sys.argv[2]), chunk_words=150)"
    )
    with subprocess.Popen([sys.executable, "-c", program, double.url, str(folder)], cwd=ROOT) as process:
        assert reached.wait(30)
        process.send_signal(signal.SIGKILL)
    held.set()
    double.on_request = lambda method, path: None
    collection = Collection.opened(server, "docs", chunk_words=150)
    there = collection.count()
    assert 0 < there < 1_200
    done = load(server, "docs", folder, chunk_words=150)
    assert (done.kept + done.written, done.chunks) == (400, 1_200 - there)
    assert done.kept == there // 3
    assert len(QdrantIndex(collection)) == 1_200


def test_a_load_follows_the_folder(server: Server, tmp_path: Path) -> None:
    """What changed is replaced; what is gone stays, unless pruned; copies and what has no text are left out."""
    folder = folder_of(tmp_path / "docs", 4)
    load(server, "docs", folder, chunk_words=150)
    (folder / "0000.md").write_text("# One\n\nnewly written\n")
    (folder / "0001.md").unlink()
    (folder / "0002.md").write_text("")
    (folder / "copy.md").write_bytes((folder / "0003.md").read_bytes())
    lines: list[str] = []
    done = load(server, "docs", folder, chunk_words=150, progress=lambda at: lines.append(at.line))
    index = QdrantIndex(Collection.opened(server, "docs", chunk_words=150))
    assert index.names == ["0000.md", "0001.md", "0003.md"]
    assert texts(index, "0000.md") == ["newly written"]
    assert [one.name for one in done.skipped] == ["copy.md", "0002.md"]
    assert (done.done, done.files, done.written, done.kept) == (4, 4, 1, 1)
    assert lines[-1] == "4 of 4 files, 1 written in 1 chunks, 1 kept"
    assert load(server, "docs", folder, chunk_words=150, prune=True).removed == 1
    assert index.names == ["0000.md", "0003.md"]


def test_a_document_that_is_there_in_part_is_written_again(server: Server, tmp_path: Path) -> None:
    """Whatever is missing of it."""
    folder = folder_of(tmp_path / "docs", 5)
    load(server, "docs", folder, chunk_words=150)
    from qdrant_client import models

    server.ask(
        lambda client: client.delete(
            "docs",
            models.Filter(must=[
                models.FieldCondition(key="document", match=models.MatchValue(value="0002.md")),
                models.FieldCondition(key="number", match=models.MatchValue(value=1)),
            ]),
        )
    )  # fmt: skip
    done = load(server, "docs", folder, chunk_words=150)
    assert (done.kept, done.written) == (4, 1)
    assert load(server, "docs", folder, chunk_words=150).kept == 5


def test_a_server_that_stumbles_is_asked_again(double: Any, server: Server, tmp_path: Path) -> None:
    """Broken connections, restarts and overload cost time, not documents."""
    folder = folder_of(tmp_path / "docs", 10)
    from tests.qdrant_server import Refused

    failures = iter([ConnectionError(), Refused(503, "starting"), None, Refused(429, "busy"), None, ConnectionError()])

    def stumble(method: str, path: str) -> None:
        failure = next(failures, None) if path != "/" else None
        if failure:
            raise failure

    double.on_request = stumble
    assert load(server, "docs", folder, chunk_words=150).written == 10
    assert next(failures, "all used") == "all used"


def test_an_average_that_is_far_from_the_true_one_is_said() -> None:
    """It costs precision, which nobody would see."""
    at = Progress(2, 2, written=2, chunks=9, average=112.0, expected=56.0)
    assert at.summary.endswith("made for 56, which costs precision: load into a new RAG_QDRANT_COLLECTION.")
    assert Progress(2, 2, written=2, chunks=9, average=60.0, expected=56.0).summary.endswith("0 left out.")


def test_a_folder_of_nothing_makes_no_collection(double: Any, server: Server, tmp_path: Path) -> None:
    """The sentence names the folder."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DocumentsError, match=r"No documents in .*empty\. Add some, or set RAG_DOCS_DIR"):
        load(server, "docs", tmp_path / "empty", chunk_words=150)
    assert double.requests == []

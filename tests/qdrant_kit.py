"""What the tests of the search on Qdrant share: a server on Qdrant's core, and ways to fill it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.chunking import Chunk
from rag.qdrant import Collection, QdrantIndex, Server
from rag.qdrant.points import source_of, stamp_of

ROOT = Path(__file__).parent.parent
needs_core = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("qdrant_client", "qdrant_edge")),
    reason="needs qdrant-client and qdrant-edge-py: pip install -r requirements-scale.txt -r requirements-dev.txt",
)


@pytest.fixture(name="double")
def core_behind_http(tmp_path: Path) -> Iterator[Any]:
    """Qdrant's core behind a little HTTP."""
    from tests.qdrant_server import running

    (tmp_path / "core").mkdir()
    with running(tmp_path / "core") as running_double:
        yield running_double


@pytest.fixture(name="server")
def way_to_it(double: Any) -> Iterator[Server]:
    """The way to it; pauses before another try take no time."""
    server = Server(double.url, pause=lambda seconds: None)
    yield server
    server.close()


def made(server: Server, name: str = "docs") -> Collection:
    """A collection for chunks of three words."""
    return Collection.made(server, name, chunk_words=150, average=lambda: 3.0)


def put(collection: Collection, name: str, *texts: str) -> None:
    """Write a document."""
    some = [Chunk(text, name, number) for number, text in enumerate(texts)]
    collection.write({name: (stamp_of(name, source_of(some), len(some)), some)})


def texts(index: QdrantIndex, name: str) -> list[str]:
    """What a document has."""
    return [chunk.text for chunk in index.document(name)]


def folder_of(path: Path, count: int, size: int = 3) -> Path:
    """A folder with Markdown documents of some chunks each."""
    path.mkdir()
    for number in range(count):
        sections = [f"# Part {part}\n\nanimal{number} section{part} text\n" for part in range(size)]
        (path / f"{number:04}.md").write_text("\n".join(sections), encoding="utf-8")
    return path


def writes(double: Any) -> list[tuple[str, str, Any]]:
    """The requests that changed points."""
    return [
        request for request in double.requests
        if request[:2] == ("PUT", "/collections/docs/points") or request[1].endswith("/delete")
    ]  # fmt: skip


def refuse(status: int, said: str) -> Callable[[str, str], None]:
    """A server that answers every request so."""
    from tests.qdrant_server import Refused

    def on_request(method: str, path: str) -> None:
        raise Refused(status, said)

    return on_request

"""A chat follows a collection: its shelves, what it knows, and how often it asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag.errors import SearchError
from rag.qdrant import Collection, Followed, QdrantIndex, Server, load
from rag.shelf import Shelf
from tests.qdrant_kit import core_behind_http, folder_of, made, needs_core, put, way_to_it  # noqa: F401 - fixtures

pytestmark = needs_core


def test_shelves_follow_the_collection(double: Any, server: Server, tmp_path: Path) -> None:
    """The same shelf while nothing changes; after a load, what it changed."""
    folder = folder_of(tmp_path / "docs", 3)
    followed = Followed(double.url, "docs", chunk_words=150)
    with pytest.raises(SearchError, match=r"has no collection docs\. Fill it with python -m rag load"):
        followed.updated(Shelf())
    load(server, "docs", folder, chunk_words=150)
    shelf = followed.updated(Shelf())
    assert shelf.documents == ["0000.md", "0001.md", "0002.md"]
    assert len(shelf.index) == 9
    assert shelf.entries["0001.md"].chunks == 3
    assert shelf.entries["0001.md"].title == "Part 0"
    assert [hit.chunk.document for hit in shelf.search("animal1", k=1)] == ["0001.md"]
    assert shelf.neighbours(shelf.search("animal1 section1", k=1)[0].chunk) != ("", "")
    assert followed.updated(shelf) is shelf
    (folder / "0001.md").write_text("# Other\n\nzebra\n")
    load(server, "docs", folder, chunk_words=150)
    after = followed.updated(shelf)
    assert after.change.changed == ("0001.md",)
    assert len(after.index) == 7
    assert [hit.chunk.document for hit in after.search("zebra")] == ["0001.md"]
    followed.close()


def test_statistics_are_learnt_anew_after_half_a_minute(server: Server) -> None:
    """What others wrote is found at once; how many chunks there are, and their languages, later."""
    now = [0.0]
    collection = made(server)
    index = QdrantIndex(collection, clock=lambda: now[0])
    put(collection, "a.md", "ant")
    assert len(index) == 1
    put(collection, "b.md", "bee")
    assert [hit.chunk.document for hit in index.search("bee")] == ["b.md"]
    assert len(index) == 1
    now[0] = 31.0
    index.search("bee")
    assert len(index) == 2


def test_a_known_question_is_one_request(double: Any, server: Server) -> None:
    """Words are asked for once; then each search is one round trip, the second look included."""
    collection = made(server)
    put(collection, "a.md", "ant bee", "cat")
    index = QdrantIndex(collection)
    index.ranked("ant cat")
    del double.requests[:]
    index.ranked("ant cat")
    assert [path for _, path, _ in double.requests] == ["/collections/docs/points/query/batch"]


def test_a_collection_that_was_made_again_is_opened_again(double: Any, server: Server) -> None:
    """What is added beside it is ranked by its new average; one made by other rules is refused."""
    put(made(server), "a.md", "ant")
    followed = Followed(double.url, "docs", chunk_words=150)
    first = followed.updated(Shelf())
    assert first.index.collection.about.average == 3.0  # type: ignore[attr-defined]

    def make_again(chunk_words: int) -> None:
        server.ask(lambda client: client.delete_collection("docs"))
        again = Collection.made(server, "docs", chunk_words=chunk_words, average=lambda: 7.0)
        put(again, "b.md", "bee")
        again.mark()

    make_again(150)
    shelf = followed.updated(first)
    assert (shelf.documents, shelf.change.removed) == (["b.md"], ("a.md",))
    assert shelf.index.collection.about.average == 7.0  # type: ignore[attr-defined]
    make_again(200)
    with pytest.raises(SearchError, match=r"was loaded with RAG_CHUNK_WORDS=200, which is now 150\. Put it back"):
        followed.updated(shelf)
    followed.close()

"""A collection on Qdrant: what is written and read, and whose it must be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from rag.chunking import Chunk
from rag.errors import SearchError
from rag.qdrant import Collection, QdrantIndex, Server, load
from rag.qdrant.points import chunk_of, dimension, point_id, weights
from rag.shelf import Shelf
from tests.qdrant_kit import core_behind_http, folder_of, made, needs_core, put, texts, way_to_it, writes  # noqa: F401 - fixtures

pytestmark = needs_core


def test_weights_are_what_the_formula_says() -> None:
    """By hand: f (k1 + 1) / (f + k1 (1 - b + b n / average)) for a word that is there f times among n."""
    gained = weights(["ant", "bee", "ant"], 2.0)
    norm = 1.5 * (1 - 0.75 + 0.75 * 3 / 2)
    assert gained == pytest.approx({dimension("ant"): 2 * 2.5 / (2 + norm), dimension("bee"): 2.5 / (1 + norm)})


def test_ids_and_dimensions_are_the_same_everywhere() -> None:
    """They lie on servers: a version that makes others would find nothing."""
    assert dimension("router") == 1171452453
    assert point_id("a.md", 0) == point_id("a.md", 0) != point_id("a.md", 1)
    assert len({point_id("a.md", 11), point_id("1 a.md", 1), point_id("a.md", 1)}) == 3


def test_words_that_share_a_dimension_are_told_apart_on_our_side(server: Server) -> None:
    """`plumless` and `buckeroo` have the same CRC-32, so the server takes them for one word."""
    assert dimension("plumless") == dimension("buckeroo")
    collection = made(server)
    put(collection, "a.md", "buckeroo", "plumless", "plumless buckeroo", "ant", "bee")
    hits = QdrantIndex(collection).search("plumless", k=5)
    assert sorted(hit.chunk.number for hit in hits) == [1, 2]


def test_writing_the_same_again_changes_nothing(server: Server) -> None:
    """Not the points, not their number, not a score."""
    collection = made(server)
    index = QdrantIndex(collection)
    seen = []
    for _ in range(2):
        put(collection, "a.md", "ant bee cat", "dog elk")
        put(collection, "b.md", "fox")
        index.learn()
        seen.append((index.names, len(index), index.search("ant"), index.search("fox"), index.idf("ant")))
    assert seen[0] == seen[1]


def test_a_shorter_version_leaves_nothing_of_the_longer_one(server: Server) -> None:
    """Its last chunks are gone as well."""
    collection = made(server)
    index = QdrantIndex(collection)
    put(collection, "a.md", "ant", "bee", "cat")
    put(collection, "b.md", "cat")
    put(collection, "a.md", "ant", "dog")
    assert texts(index, "a.md") == ["ant", "dog"]
    assert [hit.chunk.document for hit in index.search("cat")] == ["b.md"]


def test_documents_are_deleted_by_name(server: Server) -> None:
    """All their chunks and no others; unknown names are ignored."""
    collection = made(server)
    index = QdrantIndex(collection)
    for name in ("a.md", "a.md.md", "b/a.md"):
        put(collection, name, "ant", "bee")
    collection.remove(["a.md", "never.md"])
    assert index.names == ["a.md.md", "b/a.md"]
    assert {hit.chunk.document for hit in index.search("ant")} == {"a.md.md", "b/a.md"}
    collection.remove([])
    assert collection.count() == 4


def test_a_long_document_takes_several_requests_and_pages(double: Any, server: Server) -> None:
    """No request holds more than 256 points; a document of 1,100 chunks is read in two pages."""
    collection = made(server)
    put(collection, "a.md", *(f"ant word{number}" for number in range(1_100)))
    sizes = [len(body["points"]) for method, _, body in writes(double) if method == "PUT"]
    assert sizes == [256, 256, 256, 256, 76]
    assert [chunk.number for chunk in QdrantIndex(collection).document("a.md")] == list(range(1_100))


def test_what_json_does_not_have_is_written_as_a_mark(server: Server) -> None:
    """Half of a surrogate pair takes one place, so that positions stay true."""
    collection = made(server)
    put(collection, "a.md", "ant \udcff bee 🙂")
    assert texts(QdrantIndex(collection), "a.md") == ["ant � bee 🙂"]


def test_uploads_stay_here(double: Any, server: Server) -> None:
    """A conversation's own documents are searched beside the collection's, and no request has a word of them."""
    collection = made(server)
    put(collection, "a.md", "ant")
    del double.requests[:]
    own = Chunk("secretword ant", "upload/x.md")
    view = Shelf(index=QdrantIndex(collection)).index.updated({"upload/x.md": [own]})  # type: ignore[arg-type]
    assert {hit.chunk.document for hit in view.ranked("ant")} == {"a.md", "upload/x.md"}
    assert view.document("upload/x.md") == [own]
    assert writes(double) == []
    assert "secretword" not in str(double.requests)


def test_two_writers_of_the_same_are_one(double: Any, server: Server, tmp_path: Path) -> None:
    """Two loads of a folder at the same time end as one load does."""
    folder = folder_of(tmp_path / "docs", 80)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(load, server, "docs", folder, chunk_words=150) for _ in range(2)]
        assert all(each.result().done == 80 for each in both)
    index = QdrantIndex.opened(double.url, "docs", chunk_words=150)
    assert (len(index.names), len(index)) == (80, 240)
    assert all(len(index.document(name)) == 3 for name in index.names[::10])
    assert load(server, "docs", folder, chunk_words=150).kept == 80
    index.close()


def test_two_writers_of_different_versions_are_told(double: Any, server: Server) -> None:
    """Whoever finds his document mixed with another's, again and again, stops with a sentence."""
    collection, other = made(server), made(server)

    def interfere(method: str, path: str) -> None:
        if path.endswith("/facet"):
            double.on_request = lambda method, path: None
            put(other, "a.md", "another", "version")
            double.on_request = interfere

    double.on_request = interfere
    with pytest.raises(SearchError, match=r"Another program is writing other versions of a\.md to collection docs at"):
        put(collection, "a.md", "ant", "bee")
    double.on_request = lambda method, path: None
    put(collection, "a.md", "ant", "bee")
    assert texts(QdrantIndex(collection), "a.md") == ["ant", "bee"]


def test_a_collection_of_somebody_else_is_left_alone(double: Any, server: Server) -> None:
    """It is neither searched nor written to."""
    from qdrant_client import models

    server.ask(lambda client: client.create_collection("docs", vectors_config={}, sparse_vectors_config={}))
    for open_it in (
        lambda: Collection.opened(server, "docs", chunk_words=150),
        lambda: made(server),
    ):
        with pytest.raises(SearchError, match=r"Collection docs at .* is not one of ours\. Set RAG_QDRANT_COLLECTION"):
            open_it()
    ready = {"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    server.ask(lambda client: client.create_collection("ready", vectors_config={}, sparse_vectors_config=ready))
    put(made(server, "ready"), "a.md", "ant")  # empty and with our vector: somebody made it for us
    assert Collection.opened(server, "ready", chunk_words=150).about.average == 3.0


def test_other_settings_and_other_rules_ask_for_a_new_load(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both values are named; the average of the collection is what counts."""
    made(server)
    with pytest.raises(SearchError, match=r"loaded with RAG_CHUNK_WORDS=150, which is now 200\. Put it back, or set"):
        Collection.opened(server, "docs", chunk_words=200)
    again = Collection.made(server, "docs", chunk_words=150, average=lambda: 77.0)
    assert again.about.average == 3.0
    monkeypatch.setattr("rag.qdrant.collection.rules", lambda: "other")
    with pytest.raises(SearchError, match="loaded with other rules for words"):
        Collection.opened(server, "docs", chunk_words=150)


def test_a_collection_that_vanishes_is_told(server: Server) -> None:
    """While it is searched."""
    collection = made(server)
    collection.deleted()
    with pytest.raises(SearchError, match=r"Collection docs at .* is gone\. Fill it again with python -m rag load"):
        QdrantIndex(collection).search("ant")
    with pytest.raises(SearchError, match=r"Collection docs at .* is gone\. Fill it again"):
        collection.state()


OURS = {
    "text": "ant bee", "document": "b.md", "number": 0, "heading": ["Ants"], "start": 0, "end": 7, "page": None,
    "markdown": True, "opening": "", "language": "en", "stamp": f"{'0' * 24}-1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "refused"),
    [
        ({}, True),
        ({"document": "a.md", "number": 0}, True),
        ({"document": "a.md", "number": 0, "heading": [], "language": "en", "stamp": "2024-1"}, False),
        ({**OURS, "stamp": 7}, False),
        ({**OURS, "number": "0"}, False),
        ({**OURS, "heading": None}, False),
        ({**OURS, "heading": [1]}, False),
    ],
    ids=["none", "some of ours", "a stamp of theirs", "stamp", "number", "heading", "part of it"],
)
def test_points_of_somebody_else_are_refused_or_passed_over(
    server: Server, tmp_path: Path, payload: dict[str, Any], refused: bool
) -> None:
    """Whatever they look like: never hits, chunks or documents; where they show, nobody opens the collection."""
    from qdrant_client import models

    collection = made(server)
    put(collection, "a.md", "ant cat")
    vector = models.SparseVector(indices=[dimension("ant"), dimension("bee")], values=[9.0, 0.0])
    theirs = models.PointStruct(id=1, vector={"bm25": vector}, payload=payload)
    server.ask(lambda client: client.upsert("docs", [theirs]))

    index = QdrantIndex(collection)
    assert [first["document"] for first in collection.firsts()] == ["a.md"]
    assert [chunk.text for chunk in collection.document("a.md")] == ["ant cat"]
    assert collection.document("b.md") == []
    assert [chunk.document for chunk in collection.sample(10)] == ["a.md"]
    assert [hit.chunk.document for hit in index.search("ant bee")] == ["a.md"]
    assert [hit.chunk.document for hit in index.ranked("ant bee")] == ["a.md"]

    sentence = r"Collection docs at \S+ has points of somebody else \(1\)\. Set RAG_QDRANT_COLLECTION to another name"
    folder = folder_of(tmp_path / "docs", 1)
    for open_it in (
        lambda: Collection.opened(server, "docs", chunk_words=150),
        lambda: load(server, "docs", folder, chunk_words=150),
    ):
        with pytest.raises(SearchError, match=sentence) if refused else nullcontext():
            open_it()


def test_a_chunk_of_ours_is_known_by_its_payload() -> None:
    """The one that the others above differ from."""
    assert chunk_of(OURS) == Chunk("ant bee", "b.md", 0, ("Ants",), 0, 7)
    assert chunk_of({**OURS, "page": 3, "more": "of theirs"}) is not None
    assert chunk_of({**OURS, "text": ["ant bee"]}) is None

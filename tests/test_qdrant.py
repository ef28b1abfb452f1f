"""The search on Qdrant: what is written, what breaks off and goes on, and what is said when something is wrong."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from rag.chunking import Chunk
from rag.errors import DocumentsError, SearchError
from rag.qdrant import Collection, Followed, Progress, QdrantIndex, Server, load
from rag.qdrant.points import dimension, point_id, source_of, stamp_of, weights
from rag.shelf import Shelf

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("qdrant_client", "qdrant_edge")),
    reason="needs qdrant-client and qdrant-edge-py: pip install -r requirements-scale.txt -r requirements-dev.txt",
)


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Any]:
    """Qdrant's core behind a little HTTP."""
    from tests.qdrant_server import running

    (tmp_path / "core").mkdir()
    with running(tmp_path / "core") as running_double:
        yield running_double


@pytest.fixture
def server(double: Any) -> Iterator[Server]:
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


# --- Points ------------------------------------------------------------------------------------------------


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


# --- Writing -----------------------------------------------------------------------------------------------


def test_writing_the_same_again_changes_nothing(server: Server) -> None:
    """Not the points, not their number, not a score."""
    collection = made(server)
    index = QdrantIndex(collection)
    seen = []
    for _ in range(2):
        put(collection, "a.md", "ant bee cat", "dog elk")
        put(collection, "b.md", "fox")
        index.forget()
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


# --- Loading -----------------------------------------------------------------------------------------------


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


# --- Following ---------------------------------------------------------------------------------------------


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


# --- What is wrong -----------------------------------------------------------------------------------------

KEY = SecretStr("sk-very-secret")


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_nobody_there() -> None:
    """The URL and the remedy, without the password that was in it."""
    port = free_port()
    with pytest.raises(SearchError) as caught:
        QdrantIndex.opened(f"http://user:pass@127.0.0.1:{port}", "docs", chunk_words=150, api_key=KEY)
    assert str(caught.value) == f"No Qdrant server at http://127.0.0.1:{port}. Start it, or set RAG_QDRANT_URL."


def refuse(status: int, said: str) -> Callable[[str, str], None]:
    """A server that answers every request so."""
    from tests.qdrant_server import Refused

    def on_request(method: str, path: str) -> None:
        raise Refused(status, said)

    return on_request


@pytest.mark.parametrize(
    ("status", "said", "sentence"),
    [
        (403, "Forbidden", "refuses the key (status 403). Set RAG_QDRANT_API_KEY to one that may read and write."),
        (500, "disk is full", "answered with status 500: disk is full"),
        (422, "", "answered with status 422: no reason given"),
    ],
)
def test_what_a_server_says_is_said(double: Any, server: Server, status: int, said: str, sentence: str) -> None:
    """With its URL."""
    double.on_request = refuse(status, said)
    with pytest.raises(SearchError) as caught:
        server.check()
    assert str(caught.value) == f"Qdrant at {double.url} {sentence}"


@pytest.mark.parametrize("key", [None, SecretStr("wrong-key")], ids=["none", "wrong"])
def test_a_wrong_key_is_named_by_its_setting_alone(double: Any, key: SecretStr | None) -> None:
    """No message shows a key."""
    double.api_key = KEY.get_secret_value()
    with pytest.raises(SearchError, match="RAG_QDRANT_API_KEY") as caught:
        QdrantIndex.opened(double.url, "docs", chunk_words=150, api_key=key)
    assert "wrong-key" not in str(caught.value)
    server = Server(double.url, api_key=KEY)
    server.check()
    server.close()


def test_a_server_that_hangs_is_given_up(double: Any) -> None:
    """After the time that one request may take, twice."""
    held = threading.Event()
    double.on_request = lambda method, path: (held.wait(10), None)[1]
    server = Server(double.url, timeout_s=1, pause=lambda seconds: None)
    with pytest.raises(SearchError, match="gave no answer within 1 s"):
        server.ask(lambda client: client.info(), tries=1)
    held.set()
    server.close()


def test_an_old_server_is_refused(double: Any, server: Server) -> None:
    """Both versions are named."""
    double.core.version = "1.15.4"
    with pytest.raises(SearchError, match=r"is version 1\.15\.4; at least 1\.16 is needed"):
        server.check()


def test_what_is_no_qdrant_is_told(docs: Path) -> None:
    """Another server at the URL."""
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Page(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        server = Server(f"http://127.0.0.1:{page.server_port}")
        with pytest.raises(SearchError, match="is no Qdrant server"):
            server.check()
        server.close()
        page.shutdown()


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


def test_without_the_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chat itself does not need it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SearchError, match=r"pip install -r requirements-scale\.txt, or set RAG_INDEX=bm25"):
        Server("http://127.0.0.1:6333")


def test_importing_the_engine_does_not_import_the_client() -> None:
    """Which takes most of a second, and may not be there."""
    program = "import sys, rag.qdrant; sys.exit('qdrant_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_a_collection_that_vanishes_is_told(server: Server) -> None:
    """While it is searched."""
    collection = made(server)
    collection.deleted()
    with pytest.raises(SearchError, match="status 404: Not found: Collection `docs` doesn't exist"):
        QdrantIndex(collection).search("ant")
    with pytest.raises(SearchError, match=r"Collection docs at .* is gone\. Load the documents again"):
        collection.state()

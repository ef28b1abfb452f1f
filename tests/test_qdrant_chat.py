"""The chat over a collection on Qdrant: what the page says and does when the server, or what is on it, goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rag.assistant import Assistant
from rag.backends.scripted import Script, ScriptedBackend
from rag.documents import Document
from rag.prompts import Turn
from rag.qdrant import Collection, Server, load
from rag.timings import Stopwatch
from tests.conftest import events_of
from tests.qdrant_kit import core_behind_http, needs_core, refuse, way_to_it  # noqa: F401 - fixtures
from tests.test_page_parts import GOOD, QUESTION, Make, elements, final, recorded_packets  # noqa: F401 - a fixture
from ui.choices import profiles
from ui.reply import Reply
from ui.report import report, unread

pytestmark = [needs_core, pytest.mark.anyio]
Packets = Callable[[], Any]
ANSWER = "Hold the reset button for ten seconds. [1]"


@pytest.fixture
async def chat(double: Any, server: Server, docs: Path, make_assistant: Make) -> AsyncIterator[Assistant]:
    """An assistant over two documents on the server."""
    load(server, "grounded", docs, chunk_words=150)
    chat = make_assistant(ScriptedBackend(GOOD), index="qdrant", qdrant_url=double.url)
    await chat.start()
    yield chat
    await chat.stop()


async def said(chat: Assistant, packets: Packets, question: str = QUESTION) -> str:
    """What the page shows in answer to a question."""
    await Reply(Stopwatch()).draw(chat.ask(question), question=question)
    return str(final(packets())["output"])


class Trouble:
    """What happens to a server: begins, and ends."""

    def __init__(self, double: Any, server: Server, docs: Path, folder: Path) -> None:
        self._double, self._server, self._docs, self._folder = double, server, docs, folder

    def gone(self) -> Callable[[], None]:
        """Nobody listens, until another one goes on with the same folder."""
        from tests.qdrant_server import QdrantDouble

        port = int(self._double.url.rpartition(":")[2])
        self._double.stop()

        def back() -> None:
            again = QdrantDouble(self._folder, port)
            self._double.stop = again.stop  # for the fixture

        self._double.stop = lambda: None
        return back

    def failing(self) -> Callable[[], None]:
        """It answers with 500."""
        self._double.on_request = refuse(500, "disk is full")
        return lambda: setattr(self._double, "on_request", lambda method, path: None)

    def deleted(self) -> Callable[[], None]:
        """The collection is not there, until it is loaded again."""
        Collection.opened(self._server, "grounded", chunk_words=150).deleted()
        return lambda: (load(self._server, "grounded", self._docs, chunk_words=150), None)[1]


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        ("gone", "No Qdrant server at {url}. Start it, or set RAG_QDRANT_URL."),
        ("failing", "Qdrant at {url} answered with status 500: disk is full"),
        ("deleted", "Collection grounded at {url} is gone. Fill it again with python -m rag load."),
    ],
    ids=["gone", "failing", "deleted"],
)
async def test_trouble_is_said_in_a_sentence_and_passes(
    packets: Packets,
    double: Any,
    server: Server,
    docs: Path,
    tmp_path: Path,
    chat: Assistant,
    trouble: str,
    sentence: str,
) -> None:
    """Under the question and among the faults, without a promise of answers; then the chat goes on as before."""
    sentence = sentence.format(url=double.url)
    assert await said(chat, packets) == ANSWER
    over = await asyncio.to_thread(getattr(Trouble(double, server, docs, tmp_path / "core"), trouble))
    shown = await said(chat, packets)
    assert shown.startswith(f"{sentence}\n\nError id: `")
    await chat.look_again()
    assert chat.faults == [sentence]
    assert report(chat.library.shelf).text.startswith("2 documents in 3 chunks.\n\n⚠ ")
    await asyncio.to_thread(over)
    assert await said(chat, packets) == ANSWER
    await chat.look_again()
    assert chat.faults == []


async def test_a_chat_that_starts_before_its_server_mends_itself(
    packets: Packets, double: Any, server: Server, docs: Path, make_assistant: Make
) -> None:
    """A question is answered with the sentence; the first one after it comes, with an answer."""
    double.on_request = refuse(503, "starting")
    chat = make_assistant(ScriptedBackend(GOOD), index="qdrant", qdrant_url=double.url)
    await chat.start()
    assert (await said(chat, packets)).startswith(f"Qdrant at {double.url} answered with status 503: starting\n")
    double.on_request = lambda method, path: None
    assert (await said(chat, packets)).startswith(f"Qdrant at {double.url} has no collection grounded. Fill it with")
    await asyncio.to_thread(load, server, "grounded", docs, chunk_words=150)
    assert await said(chat, packets) == ANSWER
    await chat.stop()


async def test_points_of_somebody_else_are_refused_at_the_start(
    packets: Packets, double: Any, server: Server, docs: Path, make_assistant: Make
) -> None:
    """The collection is named, and what to do."""
    from qdrant_client import models

    load(server, "grounded", docs, chunk_words=150)
    theirs = models.PointStruct(id=1, vector={}, payload={"number": 0, "document": "a.md"})
    server.ask(lambda client: client.upsert("grounded", [theirs]))
    chat = make_assistant(ScriptedBackend(GOOD), index="qdrant", qdrant_url=double.url)
    await chat.start()
    sentence = f"Collection grounded at {double.url} has points of somebody else (1). Set RAG_QDRANT_COLLECTION"
    assert chat.faults[0].startswith(sentence)
    assert (await said(chat, packets)).startswith(sentence)
    await chat.stop()


async def test_an_answer_stands_though_the_server_went_before_its_sources(
    packets: Packets, double: Any, server: Server, docs: Path, make_assistant: Make
) -> None:
    """The quotations are shown without what is around them, for which the server is not asked source by source."""
    load(server, "grounded", docs, chunk_words=150)
    both = Script("Hold the reset button for ten seconds. The chat listens on port 8000.", logprob=-0.01)
    chat = make_assistant(ScriptedBackend(both), index="qdrant", qdrant_url=double.url)
    await chat.start()
    question = "Which button must I hold, and on which port does the chat listen?"
    shown = await said(chat, packets, question)
    whole = elements(packets())["Sources"]["sources"]
    assert ["firewall" in source["after"] for source in whole] == [True, True]

    double.on_request = lambda method, path: refuse(500, "disk is full")(method, path) if "/scroll" in path else None
    del double.requests[:]
    assert await said(chat, packets, question) == shown
    assert len([path for _, path, _ in double.requests if "/scroll" in path]) == 2  # two tries of one request
    bare = elements(packets())["Sources"]["sources"]
    assert [source["quote"] for source in bare] == [source["quote"] for source in whole]
    assert ["firewall" in source["after"] for source in bare] == [False, False]
    assert "LatencyWaterfall" in elements(packets())
    await chat.stop()


async def test_nothing_waits_for_the_server_where_all_pages_wait(
    packets: Packets, monkeypatch: pytest.MonkeyPatch, chat: Assistant, docs: Path, server: Server
) -> None:
    """The server may take seconds to answer; only threads may wait for it, never the event loop."""
    ask, here = Server.ask, []

    def noted(self: Server, *args: Any, **kwargs: Any) -> Any:
        try:
            here.append(asyncio.current_task())
        except RuntimeError:
            pass  # in a thread
        return ask(self, *args, **kwargs)

    monkeypatch.setattr("rag.qdrant.index._FRESH_S", 0.0)  # so nothing that was learnt is taken for true
    monkeypatch.setattr(Server, "ask", noted)
    (docs / "ports.md").write_text("# Ports\n\nHold the reset button for ten seconds. It is red.\n")
    await asyncio.to_thread(load, server, "grounded", docs, chunk_words=150)
    await chat.look_again()
    shelf = chat.library.shelf
    assert shelf.summary == "2 documents in 2 chunks"
    assert (report(shelf).props["counts"]["indexed"], unread(shelf), len(profiles(chat))) == (2, [], 4)
    own = Document("upload/own.md", "A bicycle has two wheels.")
    history = [Turn("Which reset button is it?", "The red one.")]
    events = await events_of(chat.ask("And for how long must I hold it?", history=history, uploads=[own]))
    assert events[0].query.carried
    assert await said(chat, packets)
    assert here == []


async def test_a_conversations_documents_are_searched_beside_what_was_loaded_last(
    chat: Assistant, server: Server, docs: Path
) -> None:
    """The view that holds both is made anew after a load."""
    own = [Document("upload/own.md", "A bicycle has two wheels.")]
    assert chat.library.with_uploads(own).documents == ["home/garden.txt", "ports.md", "upload/own.md"]
    (docs / "new.md").write_text("# New\n\nA tandem has two saddles.\n")
    await asyncio.to_thread(load, server, "grounded", docs, chunk_words=150)
    await chat.look_again()
    assert chat.library.with_uploads(own).documents == ["home/garden.txt", "new.md", "ports.md", "upload/own.md"]

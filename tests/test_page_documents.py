"""The page's parts that are about documents: following the folder, the report, uploads."""

from __future__ import annotations

import asyncio
import doctest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chainlit.server as server
import pytest
from chainlit.chat_context import chat_contexts
from chainlit.element import CustomElement, File
from chainlit.emitter import ChainlitEmitter
from chainlit.message import Message
from chainlit.session import WebsocketSession, ws_sessions_id
from chainlit.user_session import user_session
from fastapi import HTTPException
from starlette.applications import Starlette
from starlette.testclient import TestClient

import ui.live
import ui.report
from rag.assistant import Assistant
from rag.backends.scripted import Script, ScriptedBackend
from rag.catalogue import Entry
from rag.shelf import Shelf
from rag.timings import Stopwatch
from tests.test_page_parts import GOOD, QUESTION, Make, elements, final, recorded_packets  # noqa: F401 - a fixture
from ui.hardening import BodyLimit, SecurityHeaders
from ui.live import Live
from ui.mending import _mend_files, forget_files
from ui.reply import Reply
from ui.report import report, unread
from ui.session import Desk
from ui.uploading import Intake

pytestmark = pytest.mark.anyio
Packets = Callable[[], Any]


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Chainlit with its handling of files mended, for one test."""
    for owner, name in (
        (ChainlitEmitter, "process_message"),
        (WebsocketSession, "persist_file"),
        (WebsocketSession, "delete"),
        (CustomElement, "_create"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    _mend_files(lambda uploads: None)
    yield


@pytest.fixture
def sent(tmp_path: Path) -> Callable[..., Message]:
    """Makes messages with files, as Chainlit hands them over."""

    def make(text: str = "", **contents: str | bytes) -> Message:
        files = []
        for number, (name, content) in enumerate(contents.items()):
            path = tmp_path / f"sent-{number}"
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            files.append(File(name=name, path=str(path)))
        return Message(text, type="user_message", elements=files)

    return make


async def answered(assistant: Assistant, desk: Desk, question: str = QUESTION) -> Reply:
    """Ask, draw, and put the answer on a desk."""
    await assistant.start()
    reply = Reply(Stopwatch(), own=[one.name for one in desk.uploads])
    desk.replies.append(reply)
    await reply.draw(assistant.ask(question, uploads=desk.uploads), question=question)
    return reply


def marks(reply: Reply) -> list[str | None]:
    """What became of each source since."""
    assert reply._message.metadata is not None
    return [source.get("since") for source in reply._message.metadata["sources"]]


def test_examples_in_the_docstrings_are_true() -> None:
    """Those of rag/ run by themselves."""
    assert doctest.testmod(ui.report).failed == 0


# Following the folder.


async def test_open_pages_are_told_what_changed_and_answers_are_marked(
    packets: Packets,
    make_assistant: Make,
    docs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A source is marked when its words are gone, and the mark goes when they come back."""
    monkeypatch.setattr(server.sio.manager, "is_connected", lambda *_: True)
    desk = Desk()
    user_session.set("desk", desk)
    assistant = make_assistant(ScriptedBackend(GOOD))
    live = Live(assistant.library)
    reply = await answered(assistant, desk)
    telling = asyncio.create_task(live.tell())
    original = (docs / "ports.md").read_text()

    async def changed(wanted: str | None, changes: int) -> None:
        await assistant.library.refresh()
        async with asyncio.timeout(10):
            while marks(reply) != [wanted] or live.changes < changes:
                await asyncio.sleep(0.02)

    (docs / "ports.md").write_text(original + "\nAnd more.\n")
    await changed(None, 1)
    (docs / "ports.md").write_text("# Ports\n\nOther words.\n")
    await changed("changed", 2)
    (docs / "ports.md").unlink()
    await changed("removed", 3)
    (docs / "ports.md").write_text(original)
    await changed(None, 4)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    toasts = [data["message"] for event, data in packets() if event == "toast"]
    assert toasts == [f"docs updated: {what}" for what in ("1 changed", "1 changed", "1 removed", "1 added")]
    updates = [data for event, data in packets() if event == "update_message"]
    assert [update["metadata"]["sources"][0].get("since") for update in updates] == ["changed", "removed", None]


async def test_who_left_is_not_told_and_finds_the_mark_on_return(
    packets: Packets,
    make_assistant: Make,
    docs: Path,
) -> None:
    """A session that is away for a while has no page to tell, but keeps its answers."""
    desk = Desk()
    user_session.set("desk", desk)
    assistant = make_assistant(ScriptedBackend(GOOD))
    reply = await answered(assistant, desk)
    await answered(assistant, desk)
    (docs / "ports.md").write_text("# Ports\n\nOther words.\n")
    await assistant.library.refresh()
    live = Live(assistant.library)
    await live._tell(ui.live.Change(changed=("ports.md",)))
    assert "toast" not in [event for event, _ in packets()]
    before = len(packets())
    await desk.resend()
    updates = [data for event, data in packets()[before:] if event == "update_message"]
    assert [update["id"] for update in updates] == [reply._message.id]
    assert updates[0]["metadata"]["sources"][0]["since"] == "changed"


async def test_an_answer_written_while_its_document_changed_is_marked_at_once(
    packets: Packets,
    make_assistant: Make,
    docs: Path,
) -> None:
    """The change was told before there was anything to mark."""
    assistant = make_assistant(ScriptedBackend(GOOD))
    reply = await answered(assistant, Desk())
    (docs / "ports.md").unlink()
    await assistant.library.refresh()
    await Live(assistant.library).look_at(reply)
    assert marks(reply) == ["removed"]


def test_only_what_looks_like_a_document_is_named_as_unread() -> None:
    """At most three files, shortly, and where to see all."""
    assert unread(_shelf(("a.png", "no reader for .png"))) == []
    files = [(f"in/{number} {'x' * 50}.pdf", "damaged: save it again") for number in range(5)]
    (sentence,) = unread(_shelf(("a.png", "no reader for .png"), *files))
    named = ", ".join(f"{number} {'x' * 18}…{'x' * 7}.pdf (damaged)" for number in range(3))
    assert sentence == f"Could not be read: {named} and 2 more. Type /docs to see what to do."


# The report.


def _shelf(*left_out: tuple[str, str], **documents: Entry) -> Shelf:
    entries = [*(Entry(name, reason=reason) for name, reason in left_out), *documents.values()]
    return Shelf({entry.name: entry for entry in entries})


def test_the_report_lists_every_file_by_what_became_of_it() -> None:
    """What was left out comes first, in the text too; the conversation's own files are apart."""
    made = report(
        _shelf(
            ("broken*.pdf", "damaged [x]"),
            one=Entry("a.md", chunks=3),
            two=Entry("b.md", copy_of="a.md"),
            three=Entry("upload/c.md", chunks=1),
        ),
        own={"upload/c.md"},
    )
    assert made.props["rows"] == {
        "left": [["broken*.pdf", "damaged [x]"]],
        "own": [["upload/c.md", "1 chunk"]],
        "copies": [["b.md", "the same text as a.md"]],
        "indexed": [["a.md", "3 chunks"]],
    }
    assert made.text.splitlines()[-1] == r"- `broken*.pdf`: damaged \[x\]"


def test_of_a_large_folder_so_much_is_sent_and_the_rest_is_counted() -> None:
    """Any file can still be found by a part of its name."""
    shelf = Shelf({f"{number}.md": Entry(f"{number}.md", chunks=1) for number in range(2_000)})
    made = report(shelf)
    assert len(made.props["rows"]["indexed"]) == 500
    assert made.props["counts"]["indexed"] == 2_000
    found = report(shelf, find="1999 CHUNK")
    assert found.props["rows"]["indexed"] == [["1999.md", "1 chunk"]]
    assert "1 of these files match “1999 CHUNK”." in found.text


# Uploads.


async def test_files_join_one_conversation_and_leave_the_disk(
    packets: Packets,
    make_assistant: Make,
    sent: Callable[..., Message],
    tmp_path: Path,
) -> None:
    """Each has its line; the reader's bubble says what was sent; the answer cites it, and it is never marked."""
    assistant = make_assistant(ScriptedBackend(Script("The green lever opens the gate.", logprob=-0.01)))
    await assistant.start()
    desk = Desk()
    message = sent(**{"../a`b.md": "The green lever opens the gate.", "old.doc": "x", "none.txt": ""})
    await Intake(assistant.library).take(message, desk)
    assert message.content == "a'b.md, old.doc, none.txt"
    assert final(packets())["output"].split("\n\n") == [
        "`a'b.md` joined this conversation: 1 chunk",
        "`old.doc`: no reader for .doc: save it as .docx",
        "`none.txt`: empty",
    ]
    assert not list(tmp_path.glob("sent-*"))
    assert message.elements == []
    reply = await answered(assistant, desk, "Which lever opens the gate?")
    (source,) = elements(packets())["Sources"]["sources"]
    assert (source["document"], source["own"]) == ("upload/a'b.md", True)
    assert reply.cited == []
    assert "upload/a'b.md" not in assistant.library.shelf.entries


async def test_a_file_beside_a_question_leaves_the_question_as_it_is(
    packets: Packets,
    make_assistant: Make,
    sent: Callable[..., Message],
) -> None:
    """Two files of one name have two names."""
    assistant = make_assistant(ScriptedBackend(GOOD))
    await assistant.start()
    desk = Desk()
    for _ in range(2):
        message = sent("What is this?", **{"a.md": GOOD.text})
        await Intake(assistant.library).take(message, desk)
        assert message.content == "What is this?"
    assert [document.name for document in desk.uploads] == ["upload/a.md", "upload/a (2).md"]


async def test_stop_ends_the_reading_and_leaves_no_file(
    packets: Packets,
    make_assistant: Make,
    sent: Callable[..., Message],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was read until then stays; what was not is gone from the disk too."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*_: Any, **__: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        raise OSError("nobody waits for it any more")

    monkeypatch.setattr("ui.uploading.read_upload", slow)
    assistant = make_assistant(ScriptedBackend(GOOD))
    taking = asyncio.create_task(Intake(assistant.library).take(sent(**{"a.md": "x", "b.md": "y"}), Desk()))
    await begun.wait()
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert final(packets())["output"].endswith("Stopped.")
    assert not list(tmp_path.glob("sent-*"))


async def test_a_message_hands_its_files_over_without_showing_them(
    packets: Packets,
    mended: None,
) -> None:
    """A link to a file that is read and deleted would lead nowhere."""
    session = ws_sessions_id["test"]
    reference = await session.persist_file(name="a.md", mime="text/markdown", content=b"Text.")
    step = {"id": "0b9d7c1e-0000-4000-8000-000000000000", "output": "", "createdAt": None, "type": "user_message"}
    payload: Any = {"message": step, "fileReferences": [{"id": reference["id"]}, {"id": "unknown"}]}
    message = await ChainlitEmitter(session).process_message(payload)
    await asyncio.sleep(0.05)
    (file,) = message.elements
    assert (file.name, Path(str(file.path)).read_bytes()) == ("a.md", b"Text.")
    assert session.files == {}
    assert "element" not in [event for event, _ in packets()]


async def test_a_session_keeps_no_file_and_no_word_when_it_ends(
    packets: Packets,
    mended: None,
) -> None:
    """Also a file that was still on its way; an empty one, or one too many, is refused in words."""
    session = ws_sessions_id["test"]
    with pytest.raises(HTTPException, match="it is empty"):
        await session.persist_file(name="a.md", mime="text/markdown", content=b"")
    for _ in range(20):
        await session.persist_file(name="a.md", mime="text/markdown", content=b"Text.")
    with pytest.raises(HTTPException, match="20 files are waiting"):
        await session.persist_file(name="a.md", mime="text/markdown", content=b"Text.")
    await CustomElement(name="X", props={"quote": "Text."}).send(for_id="x")
    assert len(list(session.files_dir.iterdir())) == 20
    await Message("Text.").send()
    await session.delete()
    assert "test" not in chat_contexts
    assert not session.files_dir.exists()
    session.files.clear()
    with pytest.raises(HTTPException, match="has ended"):
        await session.persist_file(name="a.md", mime="text/markdown", content=b"Text.")
    assert not session.files_dir.exists()


def test_what_a_killed_chat_left_behind_is_deleted_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links are not followed."""
    (tmp_path / "files" / "session").mkdir(parents=True)
    (tmp_path / "files" / "session" / "secret.txt").write_text("x")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("x")
    (tmp_path / "files" / "link").symlink_to(tmp_path / "kept")
    monkeypatch.setattr("chainlit.config.FILES_DIRECTORY", tmp_path / "files")
    forget_files()
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["link"]
    assert (tmp_path / "kept" / "mine.txt").exists()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"content-length": "1000"}, 404, id="small enough"),
        pytest.param({"content-length": "1001"}, 413, id="too large"),
        pytest.param({"content-length": "many"}, 413, id="no number"),
        pytest.param({"transfer-encoding": "chunked"}, 411, id="of no length"),
    ],
)
def test_too_large_a_body_is_refused_before_it_is_read(headers: dict[str, str], status: int) -> None:
    """Chainlit would read all of it into memory first."""
    app = BodyLimit(Starlette(), most=1_000)
    with TestClient(app) as client:
        request = client.build_request("POST", "/project/file", headers=headers)
        assert client.send(request).status_code == status


def test_a_file_that_was_sent_never_runs_as_a_page_of_ours() -> None:
    """Whoever opens it by its address gets it as a download, in a sandbox."""
    with TestClient(SecurityHeaders(Starlette())) as client:
        headers = client.get("/project/file/x?session_id=y").headers
        assert headers["content-security-policy"] == "sandbox"
        assert headers["content-disposition"] == "attachment"
        assert "default-src 'self'" in client.get("/").headers["content-security-policy"]

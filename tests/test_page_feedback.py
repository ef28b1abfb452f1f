"""Marking an answer as wrong: what the page is offered, and what the server makes of what comes back."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ui.feedback
from benchmarks.chat import Reader, reader
from rag.assistant import Assistant
from rag.backends.scripted import Script, ScriptedBackend
from rag.errors import ModelBroke
from rag.feedback import Note, append, read_notes
from rag.prompts import Turn
from rag.timings import Stopwatch
from tests.model_server import DONE, HEAD, chunk, model_server, usage
from tests.running_chat import prepare_folder, running_chat
from tests.test_page_parts import (
    DOUBTFUL,
    GOOD,
    QUESTION,
    Make,
    elements,
    final,
    recorded_packets,  # noqa: F401 - a fixture
)
from ui.feedback import Feedback, Said
from ui.reply import Reply

pytestmark = pytest.mark.anyio
Packets = Callable[[], Any]

NOT_OURS = "The page has sent what is no feedback"


async def answered(
    assistant: Assistant, feedback: Feedback, *, question: str = QUESTION, history: tuple[Turn, ...] = ()
) -> dict[str, Said]:
    """Ask and draw, and give what can be marked."""
    await assistant.start()
    said: dict[str, Said] = {}
    reply = Reply(Stopwatch(), offer=feedback.offering(said, question, history))
    await reply.draw(assistant.ask(question, history=history), question=question)
    return said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where it is noted."""
    return tmp_path / "feedback.jsonl"


@pytest.mark.parametrize(
    ("draft", "large", "question", "route"),
    [
        pytest.param(GOOD, False, QUESTION, "slm", id="kept"),
        pytest.param(DOUBTFUL, True, QUESTION, "escalated", id="escalated"),
        pytest.param(DOUBTFUL, False, QUESTION, "quoted", id="quoted"),
        pytest.param(GOOD, False, "Who painted the zebra?", "abstained", id="abstained"),
    ],
)
async def test_every_whole_answer_can_be_marked(
    packets: Packets, make_assistant: Make, path: Path, draft: Script, large: bool, question: str, route: str
) -> None:
    """Whichever way it took; the page gets the id of its message and the name of the file, and nothing else."""
    llm = ScriptedBackend("Hold the reset button.", label="gpt-oss-20b") if large else None
    assistant = make_assistant(ScriptedBackend(draft), llm)
    said = await answered(assistant, Feedback(assistant.library, path), question=question)
    message = final(packets())
    assert elements(packets())["LatencyWaterfall"]["feedback"] == {"answer": message["id"], "file": "feedback.jsonl"}
    note = said[message["id"]].note
    assert (note.question, note.answer, note.route) == (question, message["output"], route)
    confidence = message["metadata"]["confidence"]
    assert note.confidence == (confidence["value"] if confidence else None)


async def test_what_is_no_whole_answer_cannot_be_marked(packets: Packets, make_assistant: Make, path: Path) -> None:
    """One that broke off, an error, a stopped one; and none where the setting is none."""
    broken = make_assistant(ScriptedBackend(Script(GOOD.text, error=ModelBroke("It broke off."), error_after=3)))
    assert await answered(broken, Feedback(broken.library, path)) == {}
    assert elements(packets())["LatencyWaterfall"]["feedback"] is None
    failing = make_assistant(ScriptedBackend(GOOD), mode="llm")
    assert await answered(failing, Feedback(failing.library, path)) == {}
    assistant = make_assistant(ScriptedBackend(GOOD))
    off = Feedback(assistant.library, None)
    assert await answered(assistant, off) == {}
    assert elements(packets())["LatencyWaterfall"]["feedback"] is None
    reply = await off.take({"answer": "x", "verdict": "wrong"}, {"x": Said(Note("q"), ())})
    assert reply["error"].startswith("Marking answers is switched off")


async def test_a_note_has_the_earlier_questions_and_the_document_that_has_the_answer(
    packets: Packets, make_assistant: Make, path: Path
) -> None:
    """Both are what the server knows; said again, it replaces what was said before, and Undo takes it away."""
    assistant = make_assistant(ScriptedBackend(GOOD))
    feedback = Feedback(assistant.library, path)
    history = tuple(Turn(f"q{at}", "a") for at in range(9))
    said = await answered(assistant, feedback, history=history)
    ((message_id, one),) = said.items()
    payload = {"answer": message_id, "verdict": "right", "words": "Reset; the RESET button", "question": "mine"}
    assert await feedback.take(payload, said) == {"noted": "feedback.jsonl"}
    (note,) = read_notes(path).notes
    assert note.answers == ("Reset", "the RESET button")
    assert (note.question, note.document) == (QUESTION, "ports.md")
    assert note.history == ("q3", "q4", "q5", "q6", "q7", "q8")
    assert note.at.endswith("+00:00")
    await feedback.take({**payload, "words": "zebra"}, said)
    assert [(note.answers, note.document) for note in read_notes(path).notes] == [(("zebra",), "")]
    await feedback.take({"answer": message_id, "verdict": "unsaid", "words": 7}, said)
    await feedback.take({"answer": message_id, "verdict": "wrong"}, said)
    assert [note.answers for note in read_notes(path).notes] == [None]
    assert await feedback.take_back({"answer": message_id}, said) == {"undone": "feedback.jsonl"}
    assert await feedback.take_back({"answer": message_id}, said) == {"undone": "feedback.jsonl"}
    assert read_notes(path).notes == ()
    assert one.noted is None


async def test_where_two_cited_documents_have_the_answer_none_is_named(
    packets: Packets, make_assistant: Make, path: Path, docs: Path
) -> None:
    """Held out by either, it would be known from the other."""
    (docs / "more.md").write_text("# More\n\nThe reset button is red, and so is the other one.\n", encoding="utf-8")
    assistant = make_assistant(ScriptedBackend(GOOD))
    await assistant.start()
    feedback = Feedback(assistant.library, path)
    cited = ("ports.md", "more.md", "home/garden.txt", "gone.md")
    said = {"x": Said(Note("q"), cited)}
    for words, document in (("reset button", ""), ("red", "more.md"), ("TOMATOES", "home/garden.txt")):
        await feedback.take({"answer": "x", "verdict": "right", "words": words}, said)
        assert [note.document for note in read_notes(path).notes] == [document], words


async def test_an_answer_that_cites_a_dropped_file_is_not_noted(make_assistant: Make, path: Path) -> None:
    """A dropped file is gone with its conversation; of another answer the beginning is noted."""
    assistant = make_assistant(ScriptedBackend(GOOD))
    await assistant.start()
    answer = [event async for event in assistant.ask(QUESTION)][-1].answer
    (citation, *_) = answer.citations
    chunk = replace(citation.evidence.chunk, document="upload/secret.md")
    dropped = replace(citation, evidence=replace(citation.evidence, chunk=chunk))
    said: dict[str, Said] = {}
    offer = Feedback(assistant.library, path).offering(said, QUESTION, ())
    offer("both", replace(answer, citations=(citation, dropped)))
    offer("long", replace(answer, text="x" * 1_000_000))
    assert (said["both"].note.answer, said["both"].cited) == ("", ("ports.md",))
    assert said["long"].note.answer == "x" * 2_000


async def test_a_mark_whose_page_goes_away_in_the_middle_can_be_taken_back(
    make_assistant: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written and remembered, or neither."""
    feedback = Feedback(make_assistant(ScriptedBackend(GOOD)).library, path)
    said, begun, go_on = {"x": Said(Note("q"), ())}, threading.Event(), threading.Event()

    def slowly(path: Path, note: Note) -> None:
        begun.set()
        go_on.wait(10)
        append(path, note)

    monkeypatch.setattr(ui.feedback, "append", slowly)
    marking = asyncio.create_task(feedback.take({"answer": "x", "verdict": "wrong"}, said))
    await asyncio.to_thread(begun.wait, 10)
    marking.cancel()
    await asyncio.gather(marking, return_exceptions=True)
    go_on.set()
    assert await feedback.take_back({"answer": "x"}, said) == {"undone": "feedback.jsonl"}
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        pytest.param({}, NOT_OURS, id="empty"),
        pytest.param(["answer"], NOT_OURS, id="a list"),
        pytest.param({"answer": 7, "verdict": "wrong"}, NOT_OURS, id="a number for an id"),
        pytest.param({"answer": "x", "verdict": ["right"]}, NOT_OURS, id="a list for a verdict"),
        pytest.param({"answer": "x", "verdict": "right"}, NOT_OURS, id="no words"),
        pytest.param({"answer": "x", "verdict": "right", "words": {"a": 1}}, NOT_OURS, id="an object for words"),
        pytest.param({"answer": "y", "verdict": "wrong"}, "no part of the running conversation", id="unknown id"),
        pytest.param({"answer": "x", "verdict": "right", "words": " ;"}, "Type a few words", id="no words in it"),
        pytest.param({"answer": "x", "verdict": "right", "words": "x" * 10_000_000}, "the limit is 500", id="10 MB"),
    ],
)
async def test_what_the_page_would_not_send_is_refused_in_words(
    make_assistant: Make, path: Path, caplog: pytest.LogCaptureFixture, payload: Any, error: str
) -> None:
    """Nothing is noted, and there is no traceback."""
    feedback = Feedback(make_assistant(ScriptedBackend(GOOD)).library, path)
    reply = await feedback.take(payload, {"x": Said(Note("q"), ())})
    assert error in reply["error"]
    assert not path.exists()
    assert "Traceback" not in caplog.text


async def test_a_disk_that_refuses_is_a_sentence_and_the_answer_can_be_marked_later(
    make_assistant: Make, path: Path
) -> None:
    """What could not be written is not taken for written."""
    feedback = Feedback(make_assistant(ScriptedBackend(GOOD)).library, path)
    said, payload = {"x": Said(Note("q"), ())}, {"answer": "x", "verdict": "wrong"}
    path.mkdir()
    reply = await feedback.take(payload, said)
    assert reply["error"].startswith(f"{path} cannot be written")
    path.rmdir()
    assert await feedback.take(payload, said) == {"noted": "feedback.jsonl"}


async def test_what_nobody_thought_of_shows_no_word_of_itself(
    make_assistant: Make, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is for the log."""

    def fail(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(ui.feedback, "append", fail)
    feedback = Feedback(make_assistant(ScriptedBackend(GOOD)).library, path)
    reply = await feedback.take({"answer": "x", "verdict": "wrong"}, {"x": Said(Note("q"), ())})
    assert reply["error"].startswith("It could not be noted. The log of the chat has the details. Error id: ")
    assert "secret" in caplog.text
    assert reply["error"].rpartition(" ")[2] in caplog.text


async def test_only_the_latest_answers_of_a_long_conversation_are_remembered(
    packets: Packets, make_assistant: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is open for weeks must not fill the memory."""
    monkeypatch.setattr(ui.feedback, "_MOST", 2)
    assistant = make_assistant(ScriptedBackend(GOOD))
    said = await answered(assistant, feedback := Feedback(assistant.library, path))
    answer = [event async for event in assistant.ask(QUESTION)][-1].answer
    for message_id in "abc":
        feedback.offering(said, QUESTION, ())(message_id, answer)
    assert list(said) == ["b", "c"]


# In a chat of its own, by what a page sends.

REPLY = [HEAD, chunk("Hold the reset button for ten seconds."), chunk(finish="stop"), usage(40, 8), DONE]


def post(url: str, page: Reader, name: str, payload: Any) -> Any:
    """What a button of the page sends, and what comes back."""
    session = page._client.connection_auth["sessionId"]
    body = json.dumps({"sessionId": session, "action": {"name": name, "payload": payload}}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/project/action", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)["response"]


async def test_an_answer_of_a_running_chat_can_be_marked(tmp_path: Path, docs: Path) -> None:
    """The line has the question and the conversation of the session, whatever the browser says they are."""
    prepare_folder(tmp_path)
    async with model_server(REPLY, REPLY) as server:
        settings = {"RAG_DOCS_DIR": str(docs), "RAG_INDEX_DIR": "none", "RAG_BY_MEANING": "0"}
        with running_chat(tmp_path, host="127.0.0.1", RAG_SLM_URL=server.url, **settings) as chat:
            async with reader(chat) as page, reader(chat) as other:
                shown: list[Any] = []
                page._client.on("element", shown.append)
                first, second = "For how long must I hold the reset button?", "Which button must I hold?"
                await page.ask(first, seconds=60)
                await page.ask(second, seconds=60)
                offered = [one["props"]["feedback"] for one in shown if one["name"] == "LatencyWaterfall"][-1]
                assert offered["file"] == "feedback.jsonl"
                payload = {
                    "answer": offered["answer"], "verdict": "right", "words": "reset; the \x07button",
                    "question": "forged", "history": ["forged"], "document": "forged",
                }  # fmt: skip

                async def send(name: str, payload: Any, by: Reader = page) -> Any:
                    return await asyncio.to_thread(post, chat.url, by, name, payload)

                refused = await send("mark_wrong", payload, by=other)
                assert "no part of the running conversation" in refused["error"]
                assert not (tmp_path / "feedback.jsonl").exists()
                assert "characters; the limit is 500" in (
                    await send("mark_wrong", {**payload, "words": "x" * 10_000_000})
                )["error"]  # fmt: skip
                assert await send("mark_wrong", payload) == {"noted": "feedback.jsonl"}
                (note,) = read_notes(tmp_path / "feedback.jsonl").notes
                assert (note.question, note.history, note.answers) == (second, (first,), ("reset", "the button"))
                assert (note.document, note.route) == ("ports.md", "slm")
                assert note.answer.startswith("Hold the reset button for ten seconds.")
                assert await send("unmark", {"answer": offered["answer"]}) == {"undone": "feedback.jsonl"}
                assert (tmp_path / "feedback.jsonl").read_bytes() == b""
        assert "Traceback" not in (tmp_path / "chat.log").read_text(encoding="utf-8")

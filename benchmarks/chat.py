"""A chat in a process of its own, and a reader at its socket: what the benchmarks of the page stand on."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import socketio

from tests.running_chat import APP, ROOT, Chat, prepare_folder
from tests.running_chat import running_chat as start_chat

QUESTION = "How do I use my own documents?"


@contextmanager
def chat_folder() -> Iterator[Path]:
    """A folder to run chats in, for as long as the `with` block lasts."""
    with tempfile.TemporaryDirectory(prefix="grounded-benchmark-") as name:
        folder = Path(name)
        prepare_folder(folder)
        yield folder


def running_chat(folder: Path, app: Path = APP, **settings: str) -> AbstractContextManager[Chat]:
    """Start an app over our manual unless told otherwise; the loopback address spares it a look-up of its name."""
    return start_chat(folder, app, host="127.0.0.1", **{"RAG_DOCS_DIR": str(ROOT / "docs"), **settings})


@dataclass
class Seen:
    """
    One answer as a reader at the socket saw it.

    Attributes:
        first_s: seconds from sending the question to the first text of the answer; notices such as 'Starting …',
            which stand between asterisks, are none.
        total_s: seconds to the whole answer with its citations.
        packets: how many packets brought text.
        text, metadata: of the whole answer.
    """

    first_s: float = 0.0
    total_s: float = 0.0
    packets: int = 0
    text: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


class Reader:
    """Asks questions through the page's socket, as the page does; made by `reader`."""

    def __init__(self, client: socketio.AsyncClient) -> None:
        self._client = client
        self._sent = 0.0
        self._seen = Seen()
        self._id = ""
        self._idle = asyncio.Event()
        self.opened = asyncio.Event()
        for name in ("stream_start", "stream_token", "new_message", "task_end", "chat_settings"):
            client.on(name, getattr(self, f"_{name}"))

    async def ask(self, question: str, *, seconds: float = 120) -> Seen:
        """Send a question and wait for the whole answer. Raises RuntimeError if it is not whole."""
        self._seen, self._id = Seen(), ""
        self._idle.clear()
        message = {
            "id": str(uuid.uuid4()), "threadId": "", "name": "User", "type": "user_message", "output": question,
            "createdAt": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip
        self._sent = time.perf_counter()
        await self._client.emit("client_message", {"message": message, "fileReferences": []})
        async with asyncio.timeout(seconds):
            await self._idle.wait()
        if self._seen.metadata.get("status") != "complete":
            raise RuntimeError(f"Not a whole answer: {self._seen.text[-300:]!r} {self._seen.metadata.get('reason')}")
        return self._seen

    def _text(self, text: str) -> None:
        notice = text.endswith(" …") or text.startswith("All slots are busy")
        if notice or not text.strip():
            return
        self._seen.packets += 1
        self._seen.first_s = self._seen.first_s or time.perf_counter() - self._sent

    def _stream_start(self, step: dict[str, Any]) -> None:
        self._id = step["id"]
        self._text(step["output"])

    def _stream_token(self, piece: dict[str, Any]) -> None:
        if piece["id"] == self._id:
            self._text(piece["token"])

    def _new_message(self, step: dict[str, Any]) -> None:
        if step["type"] != "assistant_message":
            return
        self._text(step["output"])
        self._seen.total_s = time.perf_counter() - self._sent
        self._seen.text, self._seen.metadata = step["output"], step["metadata"]

    def _task_end(self, _: Any = None) -> None:
        if self._seen.total_s:
            self._idle.set()

    def _chat_settings(self, _: Any = None) -> None:
        self.opened.set()


@asynccontextmanager
async def reader(chat: Chat) -> AsyncGenerator[Reader, None]:
    """A reader who has just opened the page."""
    client = socketio.AsyncClient(reconnection=False)
    one = Reader(client)
    who = {
        "sessionId": str(uuid.uuid4()), "clientType": "webapp", "userEnv": "{}", "chatProfile": None, "threadId": None,
    }  # fmt: skip
    await client.connect(chat.url, auth=who, socketio_path="/ws/socket.io", transports=["websocket"])
    try:
        await client.emit("connection_successful")
        async with asyncio.timeout(20):
            await one.opened.wait()
        yield one
    finally:
        await client.disconnect()

"""A chat in a process of its own, and a reader at its socket: what the benchmarks of the page stand on."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import socketio

ROOT = Path(__file__).parent.parent
APP = ROOT / "app.py"
QUESTION = "How do I use my own documents?"


@dataclass(frozen=True)
class Chat:
    """
    A running chat.

    Attributes:
        url: where its page is.
        pid: of the process that was started; the model's process is a child of it.
        started: when it was started, by `time.perf_counter`.
        healthy_s: seconds from then until `/health` answered.
    """

    url: str
    pid: int
    started: float
    healthy_s: float


@contextmanager
def chat_folder() -> Iterator[Path]:
    """A folder to run chats in: the page's files, but no `.env` and nobody's settings."""
    with tempfile.TemporaryDirectory(prefix="grounded-benchmark-") as name:
        folder = Path(name)
        shutil.copytree(ROOT / ".chainlit", folder / ".chainlit")
        for part in ("public", "chainlit.md"):
            (folder / part).symlink_to(ROOT / part)
        yield folder


@contextmanager
def running_chat(folder: Path, app: Path = APP, **settings: str) -> Iterator[Chat]:
    """Start an app as `chainlit run` does, over our manual unless told otherwise, and end it by its process id."""
    port = _free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAG_")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "RAG_DOCS_DIR": str(ROOT / "docs"), **settings}
    command = [sys.executable, "-m", "chainlit", "run", str(app), "-h", "--port", str(port)]
    log = folder / "chat.log"
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}"
        yield Chat(url, process.pid, started, _wait_until_healthy(url, process, log) - started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> float:
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                return time.perf_counter()
        except OSError:
            time.sleep(0.005)
    raise RuntimeError(f"The chat did not start:\n{log.read_text(encoding='utf-8')}")


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

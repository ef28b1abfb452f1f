"""A real chat in a process of its own, scripted models on loopback, and a real Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import GARDEN, PORTS
from tests.model_server import DONE, HEAD, chunk, models, status, usage
from tests.running_chat import Chat, prepare_folder, running_chat

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


THOUGHT = (
    "The user asks for a button.\n\n**Look** at <img src=x onerror=document.title='run'> the evidence: it names the "
    "`reset` button."
)


@dataclass
class ScriptedModels:
    """
    Both models behind one URL, answering by a word in the question.

    `slowly`: a word every 50 ms for ever; `doubtful`: a draft that nothing supports; `dies`: cut in the middle;
    otherwise a good draft. The large model always answers well. `thinks`: each model thinks for half a second before
    it answers, the large one with the marks of gpt-oss.

    Attributes:
        open: how many answers are being generated.
    """

    url: str = ""
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if "/models" in head.split("\r\n")[0]:
                writer.write(models("phi-4-mini", "gpt-oss-20b"))
                await writer.drain()
                return
            if head.startswith("get"):  # what only other servers have
                writer.write(status(404, {}))
                await writer.drain()
                return
            length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
            body = json.loads(await reader.readexactly(length))
            self.open += 1
            try:
                await self._answer(body["model"], body["messages"][-1]["content"], writer)
            finally:
                self.open -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # stopped
        finally:
            writer.close()

    async def _answer(self, model: str, prompt: str, writer: asyncio.StreamWriter) -> None:
        async def send(data: bytes) -> None:
            writer.write(data)
            await writer.drain()
            if writer.transport.is_closing():
                raise ConnectionResetError

        await send(HEAD)
        question = prompt.rsplit("Question:", 1)[-1]
        words = "Hold the reset button for ten seconds."
        if "doubtful" in question and model == "phi-4-mini":
            words = "Monks in Lyon hold the reset button."
        if "thinks" in question:
            opening, closing = ("<think>", "</think>")
            if model != "phi-4-mini":
                opening, closing = (
                    "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>",
                )  # fmt: skip
            for piece in [opening, *re.findall(r"\s*\S+", THOUGHT), closing]:
                await asyncio.sleep(0.03)
                await send(chunk(piece, logprob=-0.01, model=model))
        for number, word in enumerate(words.split(" ")):
            await asyncio.sleep(0.02)
            await send(chunk(word if number == 0 else f" {word}", logprob=-0.01, model=model))
            if "dies" in question and number == 3:
                return
        while "slowly" in question:
            await asyncio.sleep(0.05)
            await send(chunk(" and on", logprob=-0.01, model=model))
        await send(chunk(finish="stop", model=model) + usage(40, 8, model=model) + DONE)


@pytest.fixture(scope="session")
def scripted_models() -> Iterator[ScriptedModels]:
    """The models' server, in a thread of its own."""
    server, ready, end = ScriptedModels(), threading.Event(), threading.Event()

    async def listen() -> None:
        async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
            server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            ready.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=lambda: asyncio.run(listen()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield server
    end.set()
    thread.join(10)


StartChat = Callable[..., Chat]


def small_chat(folder: Path, **settings: str) -> AbstractContextManager[Chat]:
    """Start the chat in an empty folder, over two small documents unless told otherwise."""
    prepare_folder(folder)
    (folder / "docs").mkdir()
    (folder / "docs" / "ports.md").write_text(PORTS, encoding="utf-8")
    (folder / "docs" / "garden.txt").write_text(GARDEN, encoding="utf-8")
    return running_chat(folder, **settings)


@pytest.fixture(scope="module")
def start_chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartChat]:
    """Starts chats with the given settings; one at a time, kept while the settings stay the same."""
    with ExitStack() as stack:
        started: dict[frozenset[tuple[str, str]], Chat] = {}

        def start(**environment: str) -> Chat:
            key = frozenset(environment.items())
            if key not in started:
                folder = tmp_path_factory.mktemp("chat")
                started[key] = stack.enter_context(small_chat(folder, **environment))
            return started[key]

        yield start


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser that the machine has."""
    path = os.environ.get("RAG_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A fresh page; fails the test if the page asks any other host, or throws."""
    context = chromium.new_context(viewport={"width": 1280, "height": 860})
    tab = context.new_page()
    foreign: list[str] = []
    thrown: list[str] = []
    own = ("http://localhost:", "http://127.0.0.1:", "ws://localhost:", "data:", "blob:")
    context.on("request", lambda request: None if request.url.startswith(own) else foreign.append(request.url))
    tab.on("pageerror", lambda error: thrown.append(str(error)))
    yield tab
    context.close()
    assert foreign == []
    assert thrown == []

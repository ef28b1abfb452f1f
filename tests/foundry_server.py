"""A service on loopback that behaves like Foundry Local, of either generation, and a command that tells where it is."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from tests.model_server import DONE, HEAD, chunk, status, usage

PHI = "Phi-4-mini-instruct-generic-cpu:5"
GPT = "gpt-oss-20b-cuda-gpu:1"


@dataclass
class FoundryServer:
    """
    A service with its rules: an alias is not a model's name in a chat, and a model must be loaded to answer.

    Attributes:
        catalogue: id -> alias of what it lists.
        downloaded: the ids that can be loaded.
        loaded: the ids that can answer.
        dialect: `new` has `/models/load`, `old` has `/openai/load`.
        prefix: the path of its catalogue, such as `/catalogs/local`.
        load_s: how long a load takes, in seconds.
        asked: the paths of all requests, and the bodies of chats.
        most_at_once: the most chats that it had to answer at the same time.
    """

    catalogue: Mapping[str, str] = field(default_factory=lambda: {PHI: "phi-4-mini", GPT: "gpt-oss-20b"})
    downloaded: set[str] = field(default_factory=lambda: {PHI, GPT})
    loaded: set[str] = field(default_factory=set)
    dialect: Literal["new", "old"] = "new"
    prefix: str = ""
    load_s: float = 0.0
    answer: str = "Port 5273 is the usual one."
    pause_s: float = 0.0
    url: str = ""
    asked: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    busy: int = 0
    most_at_once: int = 0
    _listener: asyncio.Server | None = None

    async def open(self, port: int = 0) -> None:
        """Listen, on any port; called again after `close`, on another one."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Listen no longer, and forget what was loaded."""
        if self._listener:
            self._listener.close()
            self.loaded.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            length = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
            body = await reader.readexactly(int(length[0].split(":")[1])) if length else b""
            self.asked.append(path)
            if path == f"{self.prefix}/v1/chat/completions":
                await self._chat(json.loads(body), writer)
            else:
                writer.write(await self._told(path))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _told(self, path: str) -> bytes:
        new = self.dialect == "new"
        if path == ("/status" if new else "/openai/status"):
            place = {"modelCachePath": "models"} if new else {"modelDirPath": "models"}
            return status(200, {"endpoints": [self.url], **place})
        inner = path.removeprefix(self.prefix)
        if inner == path and self.prefix:
            return status(404, {})
        if inner == "/v1/models":
            return status(200, {"object": "list", "data": [{"id": one, "object": "model"} for one in self.catalogue]})
        if inner == ("/models/loaded" if new else "/openai/loadedmodels"):
            return status(200, sorted(self.loaded))
        if inner == "/openai/models" and not new:
            return status(200, sorted(self.downloaded))
        start = "/models/load/" if new else "/openai/load/"
        if inner.startswith(start):
            return await self._load(unquote(inner.removeprefix(start)))
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nNot Found"

    async def _load(self, name: str) -> bytes:
        by_alias = self.dialect == "new"
        ids = [one for one, alias in self.catalogue.items() if name in (one, alias if by_alias else one)]
        if not ids:
            return _failed(404, f"Model not found: No model matching '{name}'")
        if ids[0] not in self.downloaded:
            return _failed(400, f"Model '{name}' is not downloaded")
        await asyncio.sleep(self.load_s)
        self.loaded.add(ids[0])
        return status(200, {"status": "loaded"})

    async def _chat(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.bodies.append(body)
        model = body["model"]
        if model not in self.catalogue:
            writer.write(_failed(404, f"Model not found: No model matching '{model}'"))
            return
        if model not in self.loaded:
            writer.write(_failed(400, f"Model not loaded: Model '{model}' must be loaded before inference"))
            return
        self.busy += 1
        self.most_at_once = max(self.most_at_once, self.busy)
        try:
            writer.write(HEAD + _null(chunk("", model=model)))
            for word in self.answer.split(" ")[: body["max_tokens"]]:
                await asyncio.sleep(self.pause_s)
                writer.write(_null(chunk(f"{word} ", model=model)))
                await writer.drain()
            writer.write(_null(chunk(finish="stop", model=model)) + usage(50, 7, model=model) + DONE)
            await writer.drain()
        finally:
            self.busy -= 1


def _null(event: bytes) -> bytes:
    """The same chunk with log-probabilities that are null, whatever was asked for."""
    body = json.loads(event.removeprefix(b"data: "))
    body["choices"][0]["logprobs"] = None
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _failed(code: int, message: str) -> bytes:
    error = {"code": None, "message": message, "param": None, "type": "invalid_request_error"}
    return status(code, {"error": error})


@asynccontextmanager
async def foundry_server(**options: Any) -> AsyncGenerator[FoundryServer, None]:
    """A service for the length of a `with` block."""
    server = FoundryServer(**options)
    await server.open()
    try:
        yield server
    finally:
        await server.close()


def foundry_command(folder: Path, told: str, *, generation: Literal["new", "old"] = "new") -> str:
    """
    Put a `foundry` command into a folder that prints where the service is; returns the PATH that finds it.

    The newer one has no `service`, the older one no `server`, and each says so with exit status 1.
    """
    folder.mkdir(exist_ok=True)
    (folder / "told.txt").write_text(told, encoding="utf-8")
    known = "server" if generation == "new" else "service"
    script = folder / "foundry"
    script.write_text(
        f'#!/bin/sh\n[ "$1 $2" = "{known} status" ] || {{ echo "Unrecognized command $1" >&2; exit 1; }}\n'
        'cat "$(dirname "$0")/told.txt"\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"

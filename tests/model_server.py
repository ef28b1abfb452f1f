"""A model server on loopback that misbehaves on command: raw bytes, so that it can cut, stall and lie."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def status(code: int, body: Any, **headers: str) -> bytes:
    """A whole response with a JSON body."""
    raw = json.dumps(body).encode()
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (
        f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n"
        f"{extra}Connection: close\r\n\r\n"
    ).encode() + raw


def models(*ids: str) -> bytes:
    """The answer to GET /v1/models."""
    return status(200, {"object": "list", "data": [{"id": one, "object": "model"} for one in ids]})


def chunk(
    text: str | list[str] | None = None, *, finish: str | None = None, logprob: float | None = None, **extra: Any
) -> bytes:
    """One server-sent event with a piece of an answer."""
    choice: dict[str, Any] = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    if logprob is not None:
        choice["logprobs"] = {"content": [{"token": text, "logprob": logprob, "bytes": None, "top_logprobs": []}]}
    body = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "served-model", "choices": [choice]}
    return b"data: " + json.dumps(body | extra).encode() + b"\n\n"


def thought(text: Any, *, field: str = "reasoning_content", **delta: Any) -> bytes:
    """One server-sent event with a piece of what the model thinks, in a field of its own."""
    return chunk(choices=[{"index": 0, "delta": {"content": None, field: text, **delta}, "finish_reason": None}])


def usage(prompt: int, completion: int, **extra: Any) -> bytes:
    """The usage chunk, which has no choices."""
    counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return chunk(choices=[], usage=counted, **extra)


DONE = b"data: [DONE]\n\n"
ANSWER = [
    HEAD,
    chunk(""),
    chunk("Hello", logprob=-0.5),
    chunk(" world", logprob=-0.1),
    chunk(finish="stop"),
    usage(7, 2),
    DONE,
]

# A step of a script: bytes to send, or seconds to wait.
Step = bytes | float


@dataclass
class ModelServer:
    """
    Plays one script for each chat request, the last one again and again.

    Attributes:
        url: where it listens.
        bodies: what it was asked, oldest first.
        hung_up: set when a client closed a connection before its script was over.
    """

    scripts: list[list[Step]]
    listed: bytes = field(default_factory=lambda: models("served-model"))
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.decode().lower().split("\r\n") if line.startswith("content-length:")]
            body = await reader.readexactly(int(length[0].split(":")[1])) if length else b""
            if b"/models" in head.split(b"\r\n")[0]:
                await self._play([self.listed], reader, writer)
                return
            if head.startswith(b"GET"):  # what only other servers have
                await self._play([status(404, {})], reader, writer)
                return
            self.bodies.append(json.loads(body))
            await self._play(self.scripts[min(len(self.bodies), len(self.scripts)) - 1], reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        finally:
            writer.close()

    async def _play(self, script: list[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for step in script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
                continue
            gone = asyncio.create_task(reader.read(1))
            done, _ = await asyncio.wait({gone}, timeout=step)
            if done:
                self.hung_up.set()
                return
            gone.cancel()


@asynccontextmanager
async def model_server(*scripts: list[Step], port: int = 0, **options: Any) -> AsyncGenerator[ModelServer, None]:
    """A server for the length of a `with` block."""
    server = ModelServer(list(scripts) or [ANSWER], **options)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", port)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()

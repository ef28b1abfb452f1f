"""
An OpenAI-compatible server on loopback that writes at an exact pace, so that whatever is slower is not its doing.

Each answer is a number of words that never repeat (the router cuts drafts that do), in short sentences and
paragraphs, one token a word, with log-probabilities. A token is due at a fixed time after the request, so that a
late one delays no other. It runs in a process of its own, so that it shares no event loop with what is measured.

    python -m benchmarks.paced --tokens 128 --pace-us 7000     prints its URL, serves until its input closes
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
MODEL = "paced-model"


def token(number: int) -> str:
    """The `number`th token, from 1: a word that no other token is, with a full stop or a paragraph's end at times."""
    end = ".\n\n" if number % 60 == 0 else "." if number % 12 == 0 else ""
    return f"w{number}{end}" if number % 60 == 1 else f" w{number}{end}"


@dataclass
class Paced:
    """
    The server.

    Attributes:
        tokens: how many tokens an answer has.
        pace_s: seconds from one token to the next, and to the first.
        last: the body of the latest chat request.
    """

    tokens: int
    pace_s: float
    last: dict[str, Any] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, which the client may keep."""
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
                await self._reply(head, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _reply(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived = asyncio.get_running_loop().time()
        lengths = [line.split(":")[1] for line in head.split("\r\n") if line.startswith("content-length:")]
        body = await reader.readexactly(int(lengths[0])) if lengths else b""
        path = head.split(" ")[1]
        if path == "/last":
            writer.write(_whole(self.last))
        elif path.endswith("/models"):
            writer.write(_whole({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))
        else:
            self.last = json.loads(body)
            await self._stream(arrived, writer)
        await writer.drain()

    async def _stream(self, arrived: float, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(1, self.tokens + 1):
            await asyncio.sleep(max(0.0, arrived + number * self.pace_s - loop.time()))
            writer.write(_event(_chunk(token(number))))
            await writer.drain()
        usage = {"prompt_tokens": 1, "completion_tokens": self.tokens, "total_tokens": self.tokens + 1}
        writer.write(_event(_chunk(None)) + _event(_chunk(None) | {"choices": [], "usage": usage}))
        writer.write(_framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")


def _chunk(text: str | None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": "stop"}
    if text is not None:
        known = {"token": text, "logprob": -0.1, "bytes": None}
        logprobs = {"content": [known | {"top_logprobs": [known]}]}
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, "logprobs": logprobs}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}


def _event(chunk: dict[str, Any]) -> bytes:
    return _framed(b"data: " + json.dumps(chunk).encode() + b"\n\n")


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _whole(body: dict[str, Any]) -> bytes:
    raw = json.dumps(body).encode()
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw


@contextmanager
def paced_server(*, tokens: int, pace_s: float) -> Iterator[str]:
    """A paced server for the length of a `with` block; gives its URL."""
    command = [sys.executable, "-m", "benchmarks.paced", "--tokens", str(tokens), "--pace-us", str(round(pace_s * 1e6))]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(10)


def last_request(url: str) -> dict[str, Any]:
    """The body of the latest chat request that a paced server got."""
    with urllib.request.urlopen(f"{url}/last", timeout=5) as response:
        body: dict[str, Any] = json.load(response)
        return body


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--pace-us", type=int, default=7000, help="microseconds from token to token")
    options = parser.parse_args()
    server = Paced(options.tokens, options.pace_us / 1e6)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        print(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())

"""A model hub on loopback that misbehaves on command: it can cut, stall, refuse, redirect and lie."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REVISION = "a" * 40
_STALL_S = 20.0


@dataclass(frozen=True)
class Asked:
    """One request: its method, its path, and its headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class HubServer:
    """
    A hub with one file, whatever it is asked for.

    Attributes:
        content: the file.
        sha256: what it says the checksum is; None: what it is.
        size: what it says the length is; None: what it is.
        revision: what it says the state of the repository is; empty: it says none, as no hub does.
        status: the status of every answer, if it is an error.
        headers: more headers of every answer.
        html: it answers everything with a page, as a network with a log-in does.
        cut: after how many bytes of its body each download is cut off, in turn; None, and what comes after: never.
        fails: with which status each download fails, in turn; 0, and what comes after: it does not.
        stall: whether a download that would be cut off goes silent instead.
        whole_only: it sends the whole file, whatever part of it is asked for.
        unsaid: it does not say how long a body is.
        shift: how far wrong the place is that it says a part begins at.
        extra: bytes that it sends after the file.
        bytes_from: another server, which it sends downloads to.
        moved_from: the path that it says has moved to where the file is.
        asked: the requests, oldest first.
        stalling: set when a download has gone silent.
        url: where it listens.
    """

    content: bytes = b""
    sha256: str | None = None
    size: int | None = None
    revision: str = REVISION
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    html: bool = False
    cut: list[int | None] = field(default_factory=list)
    fails: list[int] = field(default_factory=list)
    stall: bool = False
    whole_only: bool = False
    unsaid: bool = False
    shift: int = 0
    extra: bytes = b""
    bytes_from: HubServer | None = None
    moved_from: str = ""
    asked: list[Asked] = field(default_factory=list)
    stalling: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def downloads(self) -> list[Asked]:
        """The requests for bytes."""
        return [one for one in self.asked if one.method == "GET"]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.asked.append(Asked(handler.command, handler.path, headers))
        wanted = dict(self.headers)
        status, body = self.status, b""
        if self.html:
            body = b"<!doctype html><title>Log in</title>"
            wanted["Content-Type"] = "text/html; charset=utf-8"
        elif status == 200 and self.moved_from and handler.path.startswith(self.moved_from):
            status, wanted["Location"] = 307, handler.path.replace(self.moved_from, "/new/home", 1)
        elif status == 200:
            wanted["X-Linked-Etag"] = f'"{self.sha256 or hashlib.sha256(self.content).hexdigest()}"'
            wanted["X-Linked-Size"] = str(len(self.content) if self.size is None else self.size)
            if self.revision:
                wanted["X-Repo-Commit"] = self.revision
            if self.bytes_from:
                status, wanted["Location"] = 302, f"{self.bytes_from.url}/signed{handler.path}"
            elif handler.command == "GET" and self.fails and (failing := self.fails.pop(0)):
                status = failing
            elif handler.command == "GET":
                self._send(handler, headers, wanted)
                return
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | wanted).items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body)

    def _send(self, handler: BaseHTTPRequestHandler, asked: dict[str, str], wanted: dict[str, str]) -> None:
        begin = 0 if self.whole_only else int(asked.get("range", "bytes=0-")[6:-1])
        body = self.content[begin:] + self.extra
        handler.send_response(200 if self.whole_only else 206)
        if not self.whole_only:
            whole = len(self.content)
            wanted["Content-Range"] = f"bytes {begin + self.shift}-{whole - 1}/{whole}"
        if not self.unsaid:
            wanted["Content-Length"] = str(len(body))
        for name, value in wanted.items():
            handler.send_header(name, value)
        handler.end_headers()
        cut = self.cut.pop(0) if self.cut else None
        handler.wfile.write(body if cut is None else body[:cut])
        if cut is not None and self.stall:
            handler.wfile.flush()
            self.stalling.set()
            self.over.wait(_STALL_S)


@contextmanager
def hub_server(content: bytes = b"", **options: Any) -> Iterator[HubServer]:
    """A hub for the length of a `with` block."""
    hub = HubServer(content, **options)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up is part of the play."""

    with Server(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            hub.over.set()
            server.shutdown()
            thread.join()

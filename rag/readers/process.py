"""Parsing in a child process: limited in time and memory, replaced after a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rag.errors import DocumentsError
from rag.readers.base import CHARACTERS, MEMORY_BYTES, SECONDS, Extract, tidy
from rag.readers.child import LENGTH

_ROOT = Path(__file__).parents[2]
_LONGEST_ANSWER = 6 * CHARACTERS + 100_000_000
# The child needs no key and no setting of ours.
_ENVIRONMENT = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "TEMP", "TMP", "LANG", "LC_ALL", "VIRTUAL_ENV")


class Parsers:
    """
    Parses files in one child process, which starts with the first file and reads one after another.

    A context manager. After `close` the next file starts another child, so an owner may close it whenever there is
    nothing to do. May be used from several threads; they take turns.

    Args:
        seconds: how long one file may take.
        memory: how many bytes of it one file may need.

    >>> with Parsers() as parsers:
    ...     parsers.read(".csv", b"name,port\\nRouter,8000\\n").text
    '- name: Router; port: 8000'
    """

    def __init__(self, *, seconds: float = SECONDS, memory: int = MEMORY_BYTES) -> None:
        self._seconds = seconds
        self._memory = memory
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def process_id(self) -> int | None:
        """The child's number, None while there is none."""
        child = self._child
        return child.process.pid if child else None

    def read(self, suffix: str, raw: bytes) -> Extract:
        """
        Take the text out of a file's bytes.

        Raises:
            DocumentsError: as `rag.readers.read`, or the parser took too long, needed too much memory, or crashed.
        """
        with self._lock:
            is_fresh = self._child is None
            begun = time.monotonic()
            try:
                return self._attempt(suffix, raw, seconds=self._seconds)
            except _Broken:
                left = self._seconds - (time.monotonic() - begun)
                if is_fresh or left < self._seconds / 2:
                    raise
                # The files before this one may have worn the child out.
                return self._attempt(suffix, raw, seconds=left)

    def close(self) -> None:
        """End the child, also while it works: whoever waits for it gets a `DocumentsError`."""
        child, self._child = self._child, None
        if child:
            child.is_stopped = True
            child.end()

    def _attempt(self, suffix: str, raw: bytes, *, seconds: float) -> Extract:
        child = self._child = self._child or _Child(self._memory, self._seconds)
        try:
            return child.read(suffix, raw, seconds=seconds)
        except (_Broken, _TooSlow):
            if self._child is child:
                self._child = None
            child.end()
            raise


class _Broken(DocumentsError):
    """The child is of no more use; another may do better."""


class _TooSlow(DocumentsError):
    """The child had to be ended; another would be as slow."""


class _Child:
    """One child process."""

    def __init__(self, memory: int, seconds: float) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self.is_stopped = False
        self._memory = memory
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter, and no word from outside
            [sys.executable, "-m", "rag.readers.child", str(memory), str(seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=_ROOT,
            env=environment | {"PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip

    def read(self, suffix: str, raw: bytes, *, seconds: float) -> Extract:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            answer = self._exchange(suffix.encode() + b"\0" + raw)
        finally:
            timer.cancel()
        if answer is None:
            if self.is_stopped:
                raise _TooSlow("reading was stopped")
            if late.is_set():
                raise _TooSlow(f"took more than {seconds:.3g} s: split it, or save it again with another program")
            raise _Broken("the parser crashed: save it again with another program")
        if answer == {"spent": True}:
            raise _Broken(f"needs more than {self._memory:,} bytes of memory: split it")
        return checked(answer)

    def _exchange(self, frame: bytes) -> Any:
        """Send a frame and wait for the answer; None if the child ends instead."""
        if self.process.stdin is None or self.process.stdout is None:
            return None
        try:
            self.process.stdin.write(LENGTH.pack(len(frame)))
            self.process.stdin.write(frame)
            self.process.stdin.flush()
            head = self.process.stdout.read(LENGTH.size)
            if len(head) < LENGTH.size:
                return None
            (length,) = LENGTH.unpack(head)
            body = self.process.stdout.read(length) if length <= _LONGEST_ANSWER else b""
            return json.loads(body) if len(body) == length else None
        except (OSError, ValueError, RecursionError):
            return None

    def end(self) -> None:
        self.process.kill()  # it holds nothing that would be lost
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                if stream:
                    stream.close()
            except OSError:  # what was still to be written
                pass


def checked(answer: Any) -> Extract:
    """The extract in an answer. A child that was taken over may say anything; only text comes of it."""
    match answer:
        case {"reason": str(reason)}:
            raise DocumentsError(" ".join(tidy(Extract(reason[:500])).text.split()))
        case {"text": str(text), "markdown": bool(markdown), "pages": list(pages), "title": str(title)}:
            if all(isinstance(page, int) and page >= 0 for page in pages) and pages == sorted(pages):
                return tidy(Extract(text, markdown, tuple(pages), title))
    raise _Broken("the parser gave no sensible answer")

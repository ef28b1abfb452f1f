"""The trace: every answer as lines in a file or as spans, written apart from the answers and never in their way."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from rag.spans import Spans
from rag.steps import Entry

log = logging.getLogger(__name__)


class Journal:
    """
    Hands answers to a thread of its own that writes them down.

    A fault there costs the trace and never an answer: it is told once in the log.

    Args:
        write: writes one answer; may block, and may raise.
        end: is called last, in the same thread.
        where: what it writes to, in words.
    """

    def __init__(self, write: Callable[[Entry], None], *, end: Callable[[], None] | None = None, where: str) -> None:
        self._write = write
        self._end = end
        self._where = where
        self._told = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trace")

    def note(self, entry: Entry) -> None:
        """Have an answer written down, soon."""
        try:
            self._thread.submit(self._do, lambda: self._write(entry))
        except RuntimeError:  # closed already, by the end of the process
            log.info("an answer that ended after the trace is not in it")

    def close(self) -> None:
        """Write what is left and end the thread. This blocks: call it in a thread."""
        if self._end:
            self._thread.submit(self._do, self._end)
        self._thread.shutdown(wait=True)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            if not self._told:
                self._told = True
                log.warning("The trace cannot be written to %s (%s). Answers go on without it.", self._where, error)


def open_journal(trace: Path | Literal["otel"] | None) -> Journal | None:
    """
    The journal that a setting asks for; None: none, which costs nothing.

    Raises:
        SettingsError: OpenTelemetry is asked for and not installed.
    """
    if trace is None:
        return None
    if trace == "otel":
        spans = Spans.from_environment()
        return Journal(spans.write, end=spans.close, where="OpenTelemetry")
    return Journal(lambda entry: append(entry, trace), where=str(trace))


def append(entry: Entry, path: Path) -> None:
    """
    Add the lines of an answer to a file, which is opened anew each time, so that it may be moved away meanwhile.

    All of them are one write, so that several chats may share the file.

    Raises:
        OSError: it cannot be written.
    """
    data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in entry.lines()).encode()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    try:
        size = os.fstat(file).st_size
        if size and os.lseek(file, size - 1, os.SEEK_SET) >= 0 and os.read(file, 1) != b"\n":
            data = b"\n" + data  # the line before was cut when a disk was full
        written = os.write(file, data)
        if written < len(data):
            raise OSError("the disk is full")
    finally:
        os.close(file)

"""
The child process that parses files, because a file may be made to crash a parser, or to take it over.

It knows no path: the bytes of one file after another come in on standard input, and the text goes out on standard
output as JSON. It limits its own memory, can write no file, and ends with its input, which also closes when the
parent dies. A frame is eight bytes that say how long the rest is, and the rest.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import struct
import sys
from itertools import count
from typing import Any, BinaryIO

from rag.errors import DocumentsError
from rag.readers import read

LENGTH = struct.Struct(">Q")
_GRACE_S = 5.0
_LARGE = 1_000_000  # bytes; what smaller files leave behind can wait for a few more
_A_FEW = 16


def serve(source: BinaryIO, target: BinaryIO, *, seconds: float, silence: int) -> None:
    """Answer frames until there are no more. Each is a suffix, a zero byte, and the bytes of a file."""
    for number in count(1):
        head = source.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return
        suffix, _, raw = source.read(*LENGTH.unpack(head)).partition(b"\0")
        # The parent ends us before this; it is for the case that the parent is gone.
        faulthandler.dump_traceback_later(seconds + _GRACE_S, exit=True, file=silence)
        answer = _answer(suffix.decode(), raw)
        faulthandler.cancel_dump_traceback_later()
        body = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
        target.write(LENGTH.pack(len(body)))
        target.write(body)
        target.flush()
        if len(raw) + len(body) > _LARGE or number % _A_FEW == 0:
            gc.collect()


def _answer(suffix: str, raw: bytes) -> dict[str, Any]:
    try:
        extract = read(suffix, raw)
    except DocumentsError as error:
        return {"reason": str(error)}
    except MemoryError:
        return {"spent": True}  # what is left of our memory is in pieces: the parent starts another
    except RecursionError:
        return {"reason": "too deeply nested: save it again with another program"}
    except Exception as error:
        return {"reason": f"damaged: the reader of {suffix} stopped with {type(error).__name__}"}
    return {"text": extract.text, "markdown": extract.markdown, "pages": extract.pages, "title": extract.title}


def limit_ourselves(memory: int) -> None:
    """Take away what no parser needs, where the system can: much memory, writing files, leaving core dumps."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(limit, (value, value))
        except (ValueError, OSError):  # macOS knows the first but does not take it
            continue


def main() -> None:
    """Run as a child process. Its arguments: the memory that it may use, in bytes, and the seconds for a file."""
    memory, seconds = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our input
    # Whatever a parser prints must not get between the frames.
    with os.fdopen(os.dup(0), "rb") as source, os.fdopen(os.dup(1), "wb") as target, open(os.devnull, "r+b") as silence:
        for descriptor in (0, 1, 2):
            os.dup2(silence.fileno(), descriptor)
        sys.modules["numpy"] = None  # type: ignore[assignment]  # openpyxl would load it, for 0.1 s and nothing
        limit_ourselves(int(memory))
        gc.disable()  # parsers make trees, and looking through them for garbage takes half of their time
        serve(source, target, seconds=float(seconds), silence=silence.fileno())


if __name__ == "__main__":
    main()

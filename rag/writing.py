"""A file that is written whole or not at all, for whatever puts results into one."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path


def write_whole(
    path: Path, content: bytes, *, over: bool, private: bool = False, still: Callable[[], bool] = lambda: True
) -> None:
    """
    Write a file; whoever reads it meanwhile finds the old one or the new one, and a full disk leaves the old one.

    What is no file, such as a terminal, is written to as it is.

    Args:
        path: where to; a link is followed.
        content: of the file.
        over: whether a file that is there is replaced; it keeps its permissions.
        private: whether a new one is for its owner alone.
        still: is asked at last whether it is to be done.

    Raises:
        FileExistsError: a file is there, or appeared meanwhile, and `over` is false.
        OSError: it cannot be written.
    """
    if path.exists():
        if not over:
            raise FileExistsError(f"{path} exists")
        if not path.is_file():
            path.write_bytes(content)
            return
    real = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(real), f".writing-{secrets.token_hex(6)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(temporary, flags, 0o600 if private else 0o666)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        if os.path.exists(real) and over:
            shutil.copymode(real, temporary)
        if still():
            (os.replace if over else _put)(temporary, real)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _put(temporary: str, real: str) -> None:
    try:
        os.link(temporary, real)  # unlike a rename, it never takes the place of another file
    except FileExistsError:
        raise
    except OSError as error:  # a disk without links
        if os.path.lexists(real):
            raise FileExistsError(f"{real} exists") from error
        os.replace(temporary, real)

"""Reading a file's bytes: never outside its folder, never waiting for a pipe, never more than the limit."""

from __future__ import annotations

import os
import stat

from rag.errors import DocumentsError
from rag.readers.base import too_large

_NO_FILE = "not a regular file, or a link that leads nowhere"
# Linux can take hold of a file without opening it, and say where it is.
_HANDLE = getattr(os, "O_PATH", 0) if os.path.isdir("/proc/self/fd") else 0
_BY_STEPS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW") and hasattr(os, "O_DIRECTORY")


def is_within(path: str, folder: str) -> bool:
    """Whether a path is below a folder; both as `os.path.realpath` gives them."""
    return path.startswith(folder if folder.endswith(os.sep) else folder + os.sep)


def read_within(path: str, folder: str, *, most: int, growing: bool = False) -> bytes:
    """
    The bytes of a file in a folder or below it.

    What is looked at and what is read is the same open file. Where the system allows it, the place of that file is
    checked, or it is opened step by step from the folder without following links, so that nobody can put a link in
    its way between check and use.

    Args:
        path: the file, or a link to one within the folder.
        folder: what it must not lead out of.
        most: the largest size, in bytes.
        growing: whether a file that something is added to meanwhile is read as it was when it was opened, up to the
            end of its last whole line; else it is refused.

    Raises:
        DocumentsError: it is outside, not a regular file, too large, changing, or cannot be opened.
    """
    try:
        with os.fdopen(_opened(path, os.path.realpath(folder)), "rb") as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise DocumentsError(_NO_FILE)
            if before.st_size > most:
                raise too_large(before.st_size, most)
            raw = file.read(before.st_size + 1)
            after = os.fstat(file.fileno())
            size, grown = before.st_size, max(len(raw), after.st_size) > before.st_size
            if growing and after.st_size >= size and (grown or before.st_mtime_ns != after.st_mtime_ns):
                file.seek(0)
                if file.read(size) == raw[:size]:  # else it was written anew
                    return raw[: (raw.rfind(b"\n", 0, size) + 1 if grown else 0) or size]
    except OSError as error:
        if os.path.islink(path):
            raise DocumentsError(_NO_FILE) from error
        raise DocumentsError(f"cannot be opened: {error.strerror or error}") from error
    if len(raw) != before.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise DocumentsError("changed while it was read: it is read again once it is left alone")
    return raw


def _opened(path: str, real_folder: str) -> int:
    # A descriptor of the file that a path leads to, if that is a regular one within the folder.
    if _HANDLE:
        handle = os.open(path, _HANDLE)
        try:
            here = f"/proc/self/fd/{handle}"
            _check(os.readlink(here), real_folder, os.fstat(handle).st_mode)
            return os.open(here, os.O_RDONLY | os.O_NONBLOCK)
        finally:
            os.close(handle)
    real = os.path.realpath(path)
    _check(real, real_folder, os.lstat(real).st_mode if is_within(real, real_folder) else 0)
    return open_within(real, real_folder)


def _check(real: str, real_folder: str, mode: int) -> None:
    if not is_within(real, real_folder):
        raise DocumentsError("a link out of the folder")
    if not stat.S_ISREG(mode):  # before it is opened: opening a device may do things
        raise DocumentsError(_NO_FILE)


def open_within(real: str, real_folder: str) -> int:
    """
    Open a file whose path was checked, and is not trusted to be what it was.

    Args:
        real, real_folder: as `os.path.realpath` gave them.

    Returns:
        A file descriptor for reading, which does not block.

    Raises:
        OSError: it cannot be opened, or there is a link on the way.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not _BY_STEPS:
        descriptor = os.open(real, flags)
        if os.path.realpath(real) == real and os.path.samestat(os.fstat(descriptor), os.stat(real)):
            return descriptor
        os.close(descriptor)
        raise DocumentsError("a link out of the folder")
    *steps, name = os.path.relpath(real, real_folder).split(os.sep)
    folder = os.open(real_folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for step in steps:
            deeper = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)

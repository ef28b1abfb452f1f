"""A lock that one process at a time holds, on a file."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import IO


class SaveLock:
    """Held by the one process that saves; the system lets it go when that process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self, *, touch: bool = True) -> bool:
        """
        Whether it is ours, now or already.

        Args:
            touch: whether taking it is a use, which its file's date tells.

        Raises:
            OSError: its file cannot be made.
        """
        while self._file is None:
            file = open(self._path, "ab")  # noqa: SIM115 - as long as the lock is held
            try:
                _lock(file.fileno())
            except (BlockingIOError, PermissionError):
                file.close()
                return False
            except OSError:
                pass  # a disk without locks: nobody else is kept away
            if not _is_at(file, self._path):  # it was deleted before it was ours, and protects nothing
                file.close()
                continue
            if touch:
                with contextlib.suppress(OSError):
                    os.utime(self._path)
            self._file = file
        return True

    def release(self) -> None:
        """Let another process have it."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

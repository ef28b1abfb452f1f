"""A lock that one process at a time holds, on a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO


class SaveLock:
    """Held by the one process that saves; the system lets it go when that process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Whether it is ours, now or already."""
        if self._file is None:
            file = open(self._path, "ab")  # noqa: SIM115 - as long as the lock is held
            try:
                _lock(file.fileno())
            except (BlockingIOError, PermissionError):
                file.close()
                return False
            except OSError:
                pass  # a disk without locks: nobody else is kept away
            self._file = file
        return True

    def release(self) -> None:
        """Let another process have it."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

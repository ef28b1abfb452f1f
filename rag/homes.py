"""Where indexes are kept: a home for each folder of documents, deleted once nobody has used it for long."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from pathlib import Path

from rag.savelock import SaveLock

UNUSED_DAYS = 30

_NAME = re.compile(r"[0-9a-f]{16}")
_LOCK = "lock"
_OURS = re.compile(
    r"lock|index\.(?:json|tmp)|(?:base|changes)(?:-[0-9a-f]{32}\.bin|\.tmp)|meanings\.npz(?:\.\d+\.part)?"
)


def home_of(folder: Path, homes: Path) -> Path:
    """Where among the homes the index of a folder of documents is kept; the same by whatever path it is reached."""
    name = os.path.realpath(folder).encode("utf-8", "surrogateescape")
    return homes / hashlib.blake2b(name, digest_size=8).hexdigest()


def lock_of(home: Path) -> SaveLock:
    """The lock of a home; whoever takes it uses the home from then on."""
    return SaveLock(home / _LOCK)


def forget_unused(homes: Path, *, but: Path) -> list[Path]:
    """
    Delete the homes that nobody has used for 30 days; whether their folders are still there does not count, as a
    disk may come back.

    Only what is surely ours goes: a folder with a name of ours, a lock that nobody holds, and no file of others.
    What cannot be deleted is left for the next time.

    Args:
        homes: the folder that they are in.
        but: one that is in use, whatever its age.

    Returns:
        Those that are gone.
    """
    gone = []
    with contextlib.suppress(OSError):
        for home in sorted(homes.iterdir()):
            if _NAME.fullmatch(home.name) and home.name != but.name and not home.is_symlink():
                with contextlib.suppress(OSError):
                    if _is_unused(home) and _delete(home):
                        gone.append(home)
    return gone


def _is_unused(home: Path) -> bool:
    # Each start takes the lock and each save writes, and both leave their date.
    files = list(os.scandir(home))
    return (
        any(file.name == _LOCK for file in files)
        and all(_OURS.fullmatch(file.name) and file.is_file(follow_symlinks=False) for file in files)
        and max(file.stat(follow_symlinks=False).st_mtime for file in files) < time.time() - UNUSED_DAYS * 86_400
    )


def _delete(home: Path) -> bool:
    lock = lock_of(home)
    if not lock.acquire(touch=False):
        return False
    try:
        if not _is_unused(home):  # somebody used it just now
            return False
        for path in home.iterdir():
            if path.name != _LOCK:
                path.unlink()
        if os.name != "nt":
            (home / _LOCK).unlink()
    finally:
        lock.release()
    if os.name == "nt":  # where a file that is open cannot be deleted
        (home / _LOCK).unlink()
    home.rmdir()
    return True

"""What this machine has: memory, room on a disk, and what a process or a folder takes of them."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """
    The memory of this machine, or of the container that we run in, in bytes; None where the system does not say.

    Attributes:
        total: all of it.
        available: what could be used now without pushing others out.
    """

    total: int | None
    available: int | None


def memory(*, proc: Path = _PROC, group: Path = _GROUP) -> Memory:
    """
    Ask the system.

    Args:
        proc: where Linux tells of its memory.
        group: where Linux tells of the limits of a container (cgroup v2).
    """
    if sys.platform == "win32":
        return _of_windows()
    try:
        found = dict(line.split(":", 1) for line in proc.read_text(encoding="ascii").splitlines())
        total, available = (int(found[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError, IndexError):
        return Memory(_pages(), None)
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        used -= int(stat["inactive_file"])  # pages of files, which are given back when others need them
    except (OSError, KeyError, ValueError):  # no container, or one without a limit ("max")
        return Memory(total, available)
    return Memory(min(total, limit), max(0, min(available, limit - used)))


def resident(pid: int | None = None) -> int | None:
    """
    The bytes of memory that a process holds, its files included as far as they are read; None: this process.

    None where that is not known: it is on Linux alone.
    """
    try:
        status = Path(f"/proc/{pid or 'self'}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def free_disk(folder: Path) -> int | None:
    """How many bytes can be written where a folder is, or will be; None where the system does not say."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return None


def size_of(folder: Path) -> tuple[int, float] | None:
    """The bytes of a folder's files and when the newest was written, in seconds since 1970; None without any."""
    try:
        found = [file.stat(follow_symlinks=False) for file in os.scandir(folder) if file.is_file(follow_symlinks=False)]
    except OSError:
        return None
    return (sum(one.st_size for one in found), max(one.st_mtime for one in found)) if found else None


def sized(count: int) -> str:
    """
    A number of bytes for people; a GB is a thousand million of them, as on the hub.

    >>> sized(98_400_000), sized(12_110_000_000), sized(999)
    ('98 MB', '12.1 GB', '1 kB')
    """
    if count >= 999_500_000:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 999_500 else f"{count / 1e3:.0f} kB"


def _pages() -> int | None:
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return found if found > 0 else None


def _of_windows() -> Memory:
    class Status(ctypes.Structure):
        """MEMORYSTATUSEX of the Windows API."""

        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "f1", "f2", "v1", "v2", "v3")),
        )

    status = Status()
    status.length = ctypes.sizeof(Status)
    windll = getattr(ctypes, "windll", None)
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return Memory(None, None)
    return Memory(int(status.total), int(status.available))

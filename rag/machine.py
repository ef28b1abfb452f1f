"""What this machine has: memory, and what a folder takes on its disk."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    """
    Memory, in bytes; None where the system does not tell.

    Attributes:
        total: of the machine.
        available: to programs that are started now.
        resident: of this process, without the model's own process.
    """

    total: int | None
    available: int | None
    resident: int | None


def memory() -> Memory:
    """What there is now. Reads files of the system: microseconds."""
    if sys.platform == "win32":
        return _of_windows()
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:  # macOS
        try:
            return Memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None, None)
        except (ValueError, OSError):
            return Memory(None, None, None)
    return Memory(_kilobytes("MemTotal", meminfo), _kilobytes("MemAvailable", meminfo), _kilobytes("VmRSS", status))


def size_of(folder: Path) -> tuple[int, float] | None:
    """The bytes of a folder's files and when the newest was written, in seconds since 1970; None without any."""
    try:
        found = [file.stat(follow_symlinks=False) for file in os.scandir(folder) if file.is_file(follow_symlinks=False)]
    except OSError:
        return None
    return (sum(one.st_size for one in found), max(one.st_mtime for one in found)) if found else None


def in_words(size: int) -> str:
    """
    A number of bytes for a reader.

    >>> in_words(512), in_words(98_000_000), in_words(12_345_678_901)
    ('1 kB', '98 MB', '12.3 GB')
    """
    if size >= 1_000_000_000:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1_000_000 else f"{max(1, round(size / 1e3))} kB"


def _kilobytes(name: str, text: str) -> int | None:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


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
        return Memory(None, None, None)
    return Memory(int(status.total), int(status.available), None)

"""What this machine has: memory, and room on a disk."""

from __future__ import annotations

import os
import shutil
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


def _pages() -> int | None:
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None
    return found if found > 0 else None


def free_disk(folder: Path) -> int | None:
    """How many bytes can be written where a folder is, or will be; None where the system does not say."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return None

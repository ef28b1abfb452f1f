"""What this machine has, in the words of several systems."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rag.machine import Memory, free_disk, memory

MEMINFO = "MemTotal:        8000000 kB\nMemFree:          100000 kB\nMemAvailable:    5000000 kB\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """What Linux tells."""
    path = tmp_path / "meminfo"
    path.write_text(MEMINFO)
    return path


def limited(folder: Path, limit: str, used: int, files: int) -> Path:
    """What Linux tells of a container."""
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {files}\n")
    return folder


def test_linux_tells_what_there_is_and_what_is_free(proc: Path, tmp_path: Path) -> None:
    """In units of 1,024 bytes."""
    assert memory(proc=proc, group=tmp_path / "none") == Memory(8_192_000_000, 5_120_000_000)


@pytest.mark.parametrize(
    ("limit", "used", "files", "found"),
    [
        pytest.param("2000000000", 600_000_000, 100_000_000, Memory(2_000_000_000, 1_500_000_000), id="a limit"),
        pytest.param("2000000000", 2_100_000_000, 0, Memory(2_000_000_000, 0), id="used up"),
        pytest.param("max", 600_000_000, 0, Memory(8_192_000_000, 5_120_000_000), id="no limit"),
        pytest.param("9000000000000", 0, 0, Memory(8_192_000_000, 5_120_000_000), id="a limit above all there is"),
    ],
)
def test_a_container_has_what_its_limit_leaves(
    proc: Path, tmp_path: Path, limit: str, used: int, files: int, found: Memory
) -> None:
    """What only holds pages of files is given back when it is needed."""
    assert memory(proc=proc, group=limited(tmp_path, limit, used, files)) == found


@pytest.mark.parametrize("text", [None, "", "MemTotal: many kB\nMemAvailable: few kB\n", "MemTotal: 1 kB\n"])
def test_other_systems_tell_the_whole_at_most(tmp_path: Path, text: str | None) -> None:
    """What is free is not known there, and not guessed."""
    proc = tmp_path / "meminfo"
    if text is not None:
        proc.write_text(text)
    found = memory(proc=proc, group=tmp_path)
    assert found.available is None
    if hasattr(os, "sysconf"):
        assert found.total == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        assert found.total is None


def test_the_room_of_a_folder_that_is_not_there_yet_is_that_of_its_disk(tmp_path: Path) -> None:
    """Whatever it is, it is some, and the same as of the folder above within what others write meanwhile."""
    here, there = free_disk(tmp_path), free_disk(tmp_path / "not" / "yet")
    assert here is not None
    assert there is not None
    assert abs(here - there) < 1_000_000_000

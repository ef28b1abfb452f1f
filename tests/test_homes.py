"""The homes of indexes: what nobody has used for long is deleted, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rag.homes import UNUSED_DAYS, forget_unused, home_of, lock_of
from rag.ingest import Ingest
from rag.shelf import Shelf


def age(home: Path, days: float) -> None:
    """Make all files of a home so old."""
    then = time.time() - days * 86_400
    for path in home.iterdir():
        os.utime(path, (then, then), follow_symlinks=False)


@pytest.fixture
def home(docs: Path, tmp_path: Path) -> Path:
    """The home of an index that was kept by a chat that is gone, long ago."""
    home = home_of(docs, tmp_path / "index")
    ingest = Ingest(docs, save_to=home)
    ingest.kept(ingest.updated(Shelf()))
    ingest.close()
    (home / "meanings.npz").write_bytes(b"vectors")
    (home / "base.tmp").write_bytes(b"left by a killed save")
    age(home, UNUSED_DAYS + 1)
    return home


def test_a_home_that_nobody_has_used_for_long_is_deleted(home: Path) -> None:
    """All of it, whether or not its folder is still there."""
    assert forget_unused(home.parent, but=home.parent / "other") == [home]
    assert list(home.parent.iterdir()) == []


def young(home: Path) -> None:
    age(home, UNUSED_DAYS - 1)


def used(home: Path) -> None:
    os.utime(home / "lock")


def saved(home: Path) -> None:
    os.utime(home / "index.json")


def with_a_file_of_others(home: Path) -> None:
    (home / "thesis.odt").write_text("years of work")
    age(home, UNUSED_DAYS + 1)


def with_a_folder(home: Path) -> None:
    (home / "base.tmp").unlink()
    (home / "base.tmp").mkdir()
    age(home, UNUSED_DAYS + 1)


def with_a_link(home: Path) -> None:
    (home / "meanings.npz").unlink()
    (home / "meanings.npz").symlink_to(home / "index.json")
    age(home, UNUSED_DAYS + 1)


def without_a_lock(home: Path) -> None:
    (home / "lock").unlink()


@pytest.mark.parametrize(
    "change", [young, used, saved, with_a_file_of_others, with_a_folder, with_a_link, without_a_lock]
)
def test_a_home_in_use_and_what_may_be_somebody_elses_is_left(home: Path, change: Callable[[Path], None]) -> None:
    """Whoever is not sure deletes nothing, not one file."""
    change(home)
    before = sorted(home.iterdir())
    assert forget_unused(home.parent, but=home.parent / "other") == []
    assert sorted(home.iterdir()) == before


@pytest.mark.parametrize("name", ["0123", "0123456789abcdef0", "0123456789ABCDEF", "documents"])
def test_a_folder_with_another_name_is_left(home: Path, name: str) -> None:
    """It may look as it likes."""
    home.rename(home.with_name(name))
    assert forget_unused(home.parent, but=home) == []
    assert (home.with_name(name) / "index.json").exists()


def test_a_link_to_a_home_is_left(home: Path, tmp_path: Path) -> None:
    """Somebody made it, for a reason that we do not know."""
    home.rename(tmp_path / "elsewhere")
    home.symlink_to(tmp_path / "elsewhere")
    assert forget_unused(home.parent, but=home.parent / "other") == []
    assert (tmp_path / "elsewhere" / "index.json").exists()


def test_our_own_home_is_left(home: Path) -> None:
    """However old it is."""
    assert forget_unused(home.parent, but=home) == []
    assert (home / "index.json").exists()


def test_a_home_that_is_locked_is_left(home: Path) -> None:
    """A chat may run for longer than 30 days without a change."""
    lock = lock_of(home)
    assert lock.acquire(touch=False)
    assert forget_unused(home.parent, but=home.parent / "other") == []
    lock.release()
    assert forget_unused(home.parent, but=home.parent / "other") == [home]


def test_a_start_is_a_use(home: Path, docs: Path) -> None:
    """Also of a folder in which nothing changes for years."""
    ingest = Ingest(docs, save_to=home)
    assert ingest.restored().documents
    ingest.close()
    assert forget_unused(home.parent, but=home.parent / "other") == []


def test_where_there_are_no_homes_none_goes(tmp_path: Path) -> None:
    """The first start of all."""
    assert forget_unused(tmp_path / "nowhere", but=tmp_path / "nowhere" / "home") == []

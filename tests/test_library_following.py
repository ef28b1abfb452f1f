"""Following the folder: whatever happens to it, and in it, it ends right, and soon."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rag.catalogue import Change
from tests.library_kit import finds, following, until

pytestmark = pytest.mark.anyio


# --- Following --------------------------------------------------------------------------------------------------------


def edit(docs: Path) -> None:
    (docs / "ports.md").write_text("# Ports\n\nZebras are striped.\n")


def save_as_editors_do(docs: Path) -> None:
    (docs / "4913").write_text("")  # vim tries whether it may write
    (docs / "4913").unlink()
    (docs / "ports.md").rename(docs / "ports.md~")
    (docs / "ports.md.tmp").write_text("# Ports\n\nZebras are striped.\n")
    (docs / "ports.md.tmp").rename(docs / "ports.md")
    (docs / "ports.md~").unlink()


def rename(docs: Path) -> None:
    (docs / "ports.md").write_text("# Ports\n\nZebras are striped.\n")
    (docs / "ports.md").rename(docs / "renamed.md")


def remove(docs: Path) -> None:
    (docs / "ports.md").unlink()


def remove_folder(docs: Path) -> None:
    shutil.rmtree(docs / "home")


def rename_folder(docs: Path) -> None:
    (docs / "home").rename(docs / "house")


def add_deep(docs: Path) -> None:
    (docs / "a" / "b" / "c").mkdir(parents=True)
    (docs / "a" / "b" / "c" / "new.md").write_text("Zebras are striped.")


def move_in(docs: Path) -> None:
    outside = docs.with_name("outside")
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "new.md").write_text("Zebras are striped.")
    outside.rename(docs / "inside")


def swap(docs: Path) -> None:
    (docs / "ports.md").rename(docs / "passing.md")
    (docs / "home" / "garden.txt").rename(docs / "ports.md")
    (docs / "passing.md").rename(docs / "home" / "garden.txt")


@pytest.mark.parametrize(
    ("action", "zebra", "firewall", "tomatoes"),
    [
        (edit, ["ports.md"], [], ["home/garden.txt"]),
        (save_as_editors_do, ["ports.md"], [], ["home/garden.txt"]),
        (rename, ["renamed.md"], [], ["home/garden.txt"]),
        (remove, [], [], ["home/garden.txt"]),
        (remove_folder, [], ["ports.md"], []),
        (rename_folder, [], ["ports.md"], ["house/garden.txt"]),
        (add_deep, ["a/b/c/new.md"], ["ports.md"], ["home/garden.txt"]),
        (move_in, ["inside/deep/new.md"], ["ports.md"], ["home/garden.txt"]),
        (swap, [], ["home/garden.txt"], ["ports.md"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_happens_in_the_folder_is_followed(
    docs: Path, action: Callable[[Path], None], zebra: list[str], firewall: list[str], tomatoes: list[str]
) -> None:
    """Every way in which people and their programs change files ends in what is there."""
    async with following(docs) as library:
        action(docs)
        await until(
            lambda: (
                [finds(library, query) for query in ("zebra", "firewall", "tomatoes")] == [zebra, firewall, tomatoes]
            )
        )


async def test_what_happens_in_a_folder_that_is_new_is_followed_too(docs: Path) -> None:
    """Its files are changed after it was first seen."""
    async with following(docs) as library:
        (docs / "new").mkdir()
        (docs / "new" / "a.md").write_text("Zebras are striped.")
        await until(lambda: finds(library, "zebra") == ["new/a.md"])
        (docs / "new" / "a.md").write_text("Giraffes are tall.")
        await until(lambda: finds(library, "giraffe") == ["new/a.md"])


async def test_an_edit_is_found_by_its_event_and_not_by_the_look_now_and_then(docs: Path) -> None:
    """A watcher that does not work would go unnoticed but for the time it takes."""
    async with following(docs) as library:
        took = []
        for number in range(3):
            begun = time.monotonic()
            (docs / "ports.md").write_text(f"Animal{number} is striped.")
            await until(lambda number=number: library.search(f"animal{number}"))
            took.append(time.monotonic() - begun)
    assert min(took) < 1.5


async def test_a_file_that_is_copied_slowly_ends_whole(docs: Path) -> None:
    """Its beginning may be found meanwhile; its end is found at last."""
    async with following(docs) as library:
        with (docs / "long.md").open("w") as file:
            for number in range(20):
                file.write(f"Line {number} is about zebras.\n\n")
                file.flush()
                await asyncio.sleep(0.03)
            file.write("The end is about giraffes.\n")
        await until(lambda: finds(library, "giraffe") == ["long.md"])
        assert library.shelf.says("long.md", "Line 0 is about zebras.")


async def test_a_storm_ends_right_and_is_told_once(docs: Path) -> None:
    """Two thousand changes are one piece of news, or two where the machine is slow; never a hundred."""
    async with following(docs) as library:
        told: list[Change] = []
        library.listeners.append(told.append)
        for number in range(1_000):
            path = docs / f"{number % 10}" / f"{number}.md"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"Draft {number}.")
            path.write_text(f"Zebra number{number} is striped.")
        await until(lambda: len(library.shelf.documents) == 1_002 and library.search("number999"), seconds=30)
        assert not library.search("draft")
        await until(lambda: sum(len(change.added) for change in told) == 1_000)
        assert len(told) <= 3
        shutil.rmtree(docs / "7")
        await until(lambda: len(library.shelf.documents) == 902)
        await until(lambda: sum(len(change.removed) for change in told) == 100)


async def test_a_link_that_leads_out_is_not_followed(docs: Path, tmp_path: Path) -> None:
    """Neither by the reader nor by the watcher, which would watch the whole disk; the list says why."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (docs / "link").symlink_to(outside)
    (docs / "loop").symlink_to(docs)
    async with following(docs) as library:
        (outside / "secret.md").write_text("Zebras are striped.")
        (docs / "ports.md").write_text("Giraffes are tall.")
        await until(lambda: finds(library, "giraffe") == ["ports.md"])
        assert finds(library, "zebra") == []
        assert library.shelf.entries["link"].fate == "left out: a link out of the folder"


# --- The folder itself ------------------------------------------------------------------------------------------------


async def test_a_folder_that_goes_and_comes_back_is_followed_again(docs: Path) -> None:
    """Meanwhile answers come from what was read; the fault says so, and goes with the folder's return."""
    away = docs.with_name("away")
    async with following(docs) as library:
        docs.rename(away)
        await until(lambda: (library.shelf.fault or "").startswith("No folder"))
        assert finds(library, "firewall") == ["ports.md"]
        (away / "new.md").write_text("Zebras are striped.")
        away.rename(docs)
        await until(lambda: library.shelf.fault is None and finds(library, "zebra") == ["new.md"])
        (docs / "new.md").write_text("Giraffes are tall.")
        await until(lambda: finds(library, "giraffe") == ["new.md"])


async def test_a_folder_that_appears_later_is_followed(tmp_path: Path) -> None:
    """The chat may start before somebody makes the folder."""
    docs = tmp_path / "later" / "docs"
    async with following(docs) as library:
        assert (library.shelf.fault or "").startswith("No folder")
        docs.mkdir(parents=True)
        await until(lambda: (library.shelf.fault or "").startswith("No readable documents"))
        (docs / "new.md").write_text("Zebras are striped.")
        await until(lambda: finds(library, "zebra") == ["new.md"] and library.shelf.fault is None)


async def test_a_folder_that_somebody_empties_is_empty(docs: Path) -> None:
    """What is deleted is not answered from any more."""
    async with following(docs) as library:
        shutil.rmtree(docs / "home")
        (docs / "ports.md").unlink()
        await until(lambda: not library.shelf.documents)
        assert not library.search("firewall tomatoes")
        assert (library.shelf.fault or "").startswith("No readable documents")


async def test_a_link_to_a_folder_is_followed_also_to_another(docs: Path, tmp_path: Path) -> None:
    """Releases are switched by a link."""
    link = tmp_path / "current"
    link.symlink_to(docs)
    other = tmp_path / "other"
    other.mkdir()
    (other / "new.md").write_text("Zebras are striped.")
    async with following(link) as library:
        (docs / "ports.md").write_text("Giraffes are tall.")
        await until(lambda: finds(library, "giraffe") == ["ports.md"])
        (tmp_path / "next").symlink_to(other)
        (tmp_path / "next").replace(link)
        await until(lambda: (finds(library, "zebra"), finds(library, "giraffe")) == (["new.md"], []))
        (other / "new.md").write_text("Lions roar.")
        await until(lambda: finds(library, "lion") == ["new.md"])


async def test_a_relative_folder_is_followed(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As most people set it."""
    monkeypatch.chdir(docs.parent)
    async with following(Path("docs")) as library:
        (docs / "home" / "garden.txt").write_text("Giraffes are tall.")
        await until(lambda: finds(library, "giraffe") == ["home/garden.txt"])

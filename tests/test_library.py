"""The live document set: whatever happens to the folder, it ends right, and soon."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rag.bm25 import Bm25Index
from rag.catalogue import Change, Entry
from rag.documents import Document, read_file
from rag.homes import home_of
from rag.library import Library

pytestmark = pytest.mark.anyio


async def until(holds: Callable[[], object], *, seconds: float = 15) -> None:
    """Wait for something to become true; the bound is for slow machines, not a promise."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        await asyncio.sleep(0.02)
    assert holds()


@asynccontextmanager
async def following(folder: Path, **options: Any) -> AsyncIterator[Library]:
    """A library that has read its folder and follows it."""
    library = Library(folder, **options)
    try:
        await library.refresh()
        library.start()
        yield library
    finally:
        await library.close()


def finds(library: Library, query: str) -> list[str]:
    """The names of the documents that a query finds, sorted."""
    return sorted({hit.chunk.document for hit in library.search(query, k=50)})


# --- One look at a time --------------------------------------------------------------------------------------------


async def test_a_changed_folder_is_followed_and_an_unchanged_one_is_not_read_again(docs: Path) -> None:
    """Added, changed and removed documents are searched as they are now."""
    library = Library(docs)
    assert await library.refresh()
    assert not await library.refresh()
    (docs / "new.md").write_text("Zebras are striped.")
    (docs / "ports.md").unlink()
    assert await library.refresh()
    assert finds(library, "zebra") == ["new.md"]
    assert library.search("firewall") == []
    await library.close()


async def test_a_folder_that_vanishes_leaves_the_last_good_state_and_a_fault(docs: Path) -> None:
    """An unmounted disk must not empty the chat."""
    library = Library(docs)
    await library.refresh()
    docs.rename(docs.with_name("gone"))
    assert await library.refresh()
    assert not await library.refresh()
    assert library.search("firewall")
    assert (library.shelf.fault or "").startswith("No folder")
    assert (library.shelf.fault or "").endswith("Answers still come from what was read before.")
    docs.with_name("gone").rename(docs)
    assert await library.refresh()
    assert library.shelf.fault is None
    await library.close()


async def test_an_inline_list_is_used_instead_of_the_folder() -> None:
    """The workshop's way of giving documents."""
    library = Library(Path("/no/such/folder"), inline=["Zebras are striped.", "Other text."])
    await library.refresh()
    assert finds(library, "zebra") == ["inline/1"]
    assert not await library.refresh()
    await library.close()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
async def test_a_folder_that_may_not_be_opened_says_so(docs: Path) -> None:
    """The path and the remedy are named."""
    docs.chmod(0)
    library = Library(docs)
    await library.refresh()
    docs.chmod(0o755)
    assert (library.shelf.fault or "").startswith("No permission to open")
    await library.close()


# --- Following -----------------------------------------------------------------------------------------------------


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


# --- The folder itself ---------------------------------------------------------------------------------------------


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


# --- Kept ----------------------------------------------------------------------------------------------------------


def saved_bytes(place: Path) -> bytes:
    """All that is in the files of an index folder."""
    return b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())


async def test_what_is_deleted_is_soon_in_no_saved_file(docs: Path, tmp_path: Path) -> None:
    """Not found at once, and within seconds not on the disk, neither its text nor its words nor its name."""
    place = tmp_path / "index"
    (docs / "xylophone.md").write_text("Quaggas are extinct.")
    async with following(docs, save_to=place) as library:
        await until(lambda: b"Quaggas" in saved_bytes(place))
        (docs / "xylophone.md").unlink()
        await until(lambda: not library.search("quaggas"))
        await until(lambda: not any(word in saved_bytes(place) for word in (b"uagga", b"xylophon")))
        assert b"firewall" in saved_bytes(place)


async def test_what_is_deleted_is_soon_nowhere_though_the_folder_never_rests(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on the disk nor in memory, where a conversation with files of its own would keep it."""
    place, save = tmp_path / "index", Bm25Index.save

    def slowly(index: Bm25Index, folder: Path, manifest: Mapping[str, Any]) -> None:
        time.sleep(0.5)  # so that something has always changed meanwhile
        save(index, folder, manifest)

    monkeypatch.setattr(Bm25Index, "save", slowly)
    (docs / "xylophone.md").write_text("Quaggas are extinct.")

    async def write_on() -> None:
        for number in range(10_000):
            (docs / "restless.md").write_text(f"Note number {number}.")
            await asyncio.sleep(0.1)

    async with following(docs, save_to=place) as library:
        await until(lambda: b"Quaggas" in saved_bytes(place))
        library.with_uploads([Document("upload/a.md", "Zebras are striped.")])
        assert isinstance(library.shelf.index, Bm25Index)
        texts = weakref.ref(library.shelf.index._base.passages)
        restless = asyncio.create_task(write_on())
        try:
            (docs / "xylophone.md").unlink()
            await until(lambda: not library.search("quaggas"))
            await until(lambda: not any(word in saved_bytes(place) for word in (b"uagga", b"xylophon")))
            await until(lambda: gc.collect() >= 0 and texts() is None)
        finally:
            restless.cancel()


async def test_a_change_is_found_while_the_index_is_kept(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeping a large index takes seconds: nobody waits for it, and what changes meanwhile is kept the next time."""
    place = tmp_path / "index"
    (docs / "xylophone.md").write_text("Quaggas are extinct.")
    begun, go_on, save = threading.Event(), threading.Event(), Bm25Index.save

    def slowly(index: Bm25Index, folder: Path, manifest: Mapping[str, Any]) -> None:
        begun.set()
        go_on.wait(30)
        save(index, folder, manifest)

    monkeypatch.setattr(Bm25Index, "save", slowly)
    async with following(docs, save_to=place) as library:
        try:
            (docs / "ports.md").unlink()  # there is something to tidy up
            await until(begun.is_set)
            (docs / "new.md").write_text("Zebras are striped.")
            (docs / "xylophone.md").unlink()
            await until(lambda: finds(library, "zebra") == ["new.md"] and not library.search("quaggas"))
        finally:
            go_on.set()
        await until(lambda: b"Zebras" in saved_bytes(place) and b"uagga" not in saved_bytes(place))
        assert [finds(library, query) for query in ("zebra", "firewall", "quaggas")] == [["new.md"], [], []]


async def test_a_start_deletes_the_indexes_that_nobody_uses(docs: Path, tmp_path: Path) -> None:
    """Those of folders that somebody tried once, not our own."""
    place = tmp_path / "index"
    (tmp_path / "tried").mkdir()
    (tmp_path / "tried" / "a.md").write_text("Quaggas are extinct.")
    for folder in (docs, tmp_path / "tried"):
        library = Library(folder, save_to=place)
        await library.refresh()
        await library.close()
    for path in place.rglob("*"):
        os.utime(path, (1, 1))
    async with following(docs, save_to=place) as library:
        await until(lambda: list(place.iterdir()) == [home_of(docs, place)])
        assert finds(library, "firewall") == ["ports.md"]


async def test_what_is_deleted_right_before_the_end_is_in_no_saved_file(docs: Path, tmp_path: Path) -> None:
    """Closing tidies up too, and the next start finds the rest without reading."""
    place = tmp_path / "index"
    (docs / "xylophone.md").write_text("Quaggas are extinct.")
    library = Library(docs, save_to=place)
    await library.refresh()
    await library.close()
    assert b"Quaggas" in saved_bytes(place)
    library = Library(docs, save_to=place)
    await library.refresh()
    (docs / "xylophone.md").unlink()
    await library.refresh([docs / "xylophone.md"])
    await library.close()
    assert not any(word in saved_bytes(place) for word in (b"uagga", b"xylophon"))


async def test_after_a_restart_without_the_folder_answers_come_from_what_was_kept(docs: Path, tmp_path: Path) -> None:
    """The disk may be mounted later than the chat starts."""
    library = Library(docs, save_to=tmp_path / "index")
    await library.refresh()
    await library.close()
    docs.rename(docs.with_name("away"))
    library = Library(docs, save_to=tmp_path / "index")
    await library.refresh()
    assert finds(library, "firewall") == ["ports.md"]
    assert (library.shelf.fault or "").startswith("No folder")
    await library.close()


async def test_two_chats_on_one_folder_and_one_place_do_no_harm(docs: Path, tmp_path: Path) -> None:
    """Both follow; what is kept is whole."""
    place = tmp_path / "index"
    async with following(docs, save_to=place) as one, following(docs, save_to=place) as two:
        (docs / "new.md").write_text("Zebras are striped.")
        await until(lambda: finds(one, "zebra") == finds(two, "zebra") == ["new.md"])
    library = Library(docs, save_to=place)
    await library.refresh()
    assert finds(library, "zebra") == ["new.md"]
    await library.close()


# --- Telling -------------------------------------------------------------------------------------------------------


async def test_listeners_are_told_what_changed_but_not_of_the_first_reading(docs: Path) -> None:
    """Calls in quick succession are told together, and a listener that fails costs no other."""
    told: list[Change] = []

    def fails(change: Change) -> None:
        raise ZeroDivisionError

    library = Library(docs)
    library.listeners += [fails, told.append]
    await library.refresh()
    (docs / "new.md").write_text("Zebras are striped.")
    await library.refresh()
    (docs / "ports.md").write_text("Giraffes are tall.")
    (docs / "home" / "garden.txt").unlink()
    await library.refresh()
    await until(lambda: told)
    assert told == [Change(("new.md",), ("ports.md",), ("home/garden.txt",))]
    os.utime(docs / "ports.md", (1, 1))
    assert not await library.refresh()
    (docs / "new.md").unlink()
    await library.refresh()
    await until(lambda: len(told) > 1)
    assert told[1:] == [Change(removed=("new.md",))]
    await library.close()


async def test_what_differs_is_found_out_beside_the_event_loop_and_nothing_is_missed(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With very many files it takes long: everybody else goes on, and what changes meanwhile is told as well."""
    told: list[Change] = []
    begun, go_on, between, loop = threading.Event(), threading.Event(), Change.between, threading.get_ident()

    def slowly(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> Change:
        assert threading.get_ident() != loop
        if not threading.current_thread().name.startswith("library"):  # not the one for the next shelf
            begun.set()
            go_on.wait(30)
        return between(before, after)

    monkeypatch.setattr(Change, "between", slowly)
    library = Library(docs)
    library.listeners.append(told.append)
    with contextlib.ExitStack() as stack:
        stack.callback(go_on.set)
        await library.refresh()
        (docs / "new.md").write_text("Zebras are striped.")
        await library.refresh()
        await until(begun.is_set)
        (docs / "ports.md").unlink()
        await library.refresh()
    await until(lambda: len(told) == 2)
    assert told == [Change(added=("new.md",)), Change(removed=("ports.md",))]
    await library.close()


async def test_a_long_reading_says_how_far_it_is(docs: Path) -> None:
    """A sentence for the page while it goes on, none before and after."""
    seen: list[str] = []
    library = Library(docs, read=lambda path, **options: seen.append(library.progress) or read_file(path, **options))
    assert library.progress == ""
    await library.refresh()
    assert seen == ["Reading the documents: 0 of 2", "Reading the documents: 1 of 2"]
    assert library.progress == ""
    await library.close()


# --- A conversation's own documents --------------------------------------------------------------------------------


async def test_uploads_are_found_beside_the_documents_and_only_where_they_belong(docs: Path) -> None:
    """Each conversation has its own state, asked for again at no cost, and new when the library changes."""
    library = Library(docs)
    await library.refresh()
    mine, yours = [Document("upload/a.md", "Zebras are striped.")], [Document("upload/a.md", "Giraffes are tall.")]
    shelf = library.with_uploads(mine)
    assert [hit.chunk.document for hit in shelf.search("zebra")] == ["upload/a.md"]
    assert [hit.chunk.document for hit in shelf.search("firewall")] == ["ports.md"]
    assert not library.with_uploads(yours).search("zebra")
    assert not library.search("zebra")
    assert library.with_uploads(list(mine)) is shelf
    assert library.with_uploads([]) is library.shelf
    (docs / "new.md").write_text("Lions roar.")
    await library.refresh()
    newer = library.with_uploads(mine)
    assert [len(newer.search(query)) for query in ("zebra", "lion")] == [1, 1]
    await library.close()


# --- The end -------------------------------------------------------------------------------------------------------


async def test_closing_ends_a_long_reading_and_all_that_it_started(docs: Path) -> None:
    """Soon, whatever there is still to read; afterwards nothing is left of it, and nothing starts again."""
    for number in range(500):
        (docs / f"{number}.md").write_text(f"Number {number}")
    (docs / "prices.csv").write_text("animal,price\nzebra,12\n")
    slow = threading.Event()

    def read(path: Path, **options: Any) -> Document:
        slow.wait(0.1)
        return read_file(path, **options)

    library = Library(docs, read=read)
    library.start()
    reading = asyncio.create_task(library.refresh())
    await until(lambda: "of 503" in library.progress)
    begun = time.monotonic()
    await library.close()
    assert time.monotonic() - begun < 5
    assert not await reading
    assert not await library.refresh()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("library", "parsing"))]
    await library.close()


async def test_a_conversation_that_ended_is_forgotten(docs: Path) -> None:
    """Nothing that belongs to one conversation outlives it, not even in a cache."""
    library = Library(docs)
    await library.refresh()
    mine, yours = Document("upload/mine.md", "Zebras are striped."), Document("upload/yours.md", "Lions roar.")
    kept = library.with_uploads([yours])
    gone = library.with_uploads([mine])
    library.forget([mine])
    assert library.with_uploads([yours]) is kept
    assert library.with_uploads([mine]) is not gone
    await library.close()

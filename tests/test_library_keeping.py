"""What is kept on the disk for the next start, and what soon is there no more."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rag.bm25 import Bm25Index
from rag.documents import Document
from rag.homes import home_of
from rag.library import Library
from tests.library_kit import finds, following, until

pytestmark = pytest.mark.anyio


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

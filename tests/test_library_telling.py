"""What the library tells: listeners of changes, the page of a long reading."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from rag.catalogue import Change, Entry
from rag.documents import read_file
from rag.library import Library
from tests.library_kit import until

pytestmark = pytest.mark.anyio


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

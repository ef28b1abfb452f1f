"""The live document set: one look at a time, a conversation's own documents, and the end."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rag.documents import Document, read_file
from rag.library import Library
from tests.library_kit import finds, until

pytestmark = pytest.mark.anyio


# --- One look at a time -----------------------------------------------------------------------------------------------


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


# --- A conversation's own documents -----------------------------------------------------------------------------------


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


# --- The end ----------------------------------------------------------------------------------------------------------


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

"""The live document set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rag.library import Library

pytestmark = pytest.mark.anyio


async def test_a_changed_folder_is_followed_and_an_unchanged_one_is_not_read_again(docs: Path) -> None:
    """Added, changed and removed documents are searched as they are now."""
    library = Library(docs)
    assert await library.refresh()
    assert not await library.refresh()
    (docs / "new.md").write_text("Zebras are striped.")
    (docs / "ports.md").unlink()
    assert await library.refresh()
    assert [hit.chunk.document for hit in library.search("zebra")] == ["new.md"]
    assert library.search("firewall") == []


async def test_a_folder_that_vanishes_leaves_the_last_good_state_and_a_fault(docs: Path) -> None:
    """An unmounted disk must not empty the chat."""
    library = Library(docs)
    await library.refresh()
    docs.rename(docs.with_name("gone"))
    await library.refresh()
    assert library.search("firewall")
    assert (library.shelf.fault or "").startswith("No folder")
    assert (library.shelf.fault or "").endswith("Answers still come from what was read before.")
    docs.with_name("gone").rename(docs)
    await library.refresh()
    assert library.shelf.fault is None


async def test_an_inline_list_is_used_instead_of_the_folder() -> None:
    """The workshop's way of giving documents."""
    library = Library(Path("/no/such/folder"), inline=["Zebras are striped.", "Other text."])
    await library.refresh()
    assert [hit.chunk.document for hit in library.search("zebra")] == ["inline/1"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
async def test_a_folder_that_may_not_be_opened_says_so(docs: Path) -> None:
    """The path and the remedy are named."""
    docs.chmod(0)
    library = Library(docs)
    await library.refresh()
    docs.chmod(0o755)
    assert (library.shelf.fault or "").startswith("No permission to open")

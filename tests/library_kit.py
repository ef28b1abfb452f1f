"""What the tests of the library share: one that follows its folder, and ways to wait for it and to ask it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rag.library import Library


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

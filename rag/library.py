"""The live document set: follows its folder, and swaps one whole state for the next."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from watchfiles import awatch

from rag.bm25 import Hit
from rag.catalogue import Change
from rag.documents import Document
from rag.ingest import Ingest
from rag.shelf import Shelf

log = logging.getLogger(__name__)

# More changes than this at once are quicker found by one look at the whole folder.
_STORM = 500
# Events may get lost (a network disk, a full queue), so there is a look at the whole folder now and then, in seconds.
_LOOK_EVERY_S = 20.0
# Events come a few milliseconds apart when a file is copied; they are taken together.
_STEP_MS, _TOGETHER_MS = 50, 400
# How long nothing must change before the index is tidied up and kept for the next start.
_QUIET_S = 2.0


class Library:
    """
    The documents of a folder or of an inline list.

    Args:
        folder: where they are.
        inline: texts to use instead of the folder; empty: use the folder.
        chunk_words: the size of a chunk, in words.
        language: of all documents, an ISO 639-1 code; None: told by each one's text.
        save_to: a folder that keeps the index for the next start; None: it is not kept.

    Attributes:
        shelf: the current state. Whoever needs one state for longer keeps it; it never changes.
        listeners: called with each change of documents.
    """

    def __init__(
        self,
        folder: Path,
        *,
        inline: Sequence[str] = (),
        chunk_words: int = 160,
        language: str | None = None,
        save_to: Path | None = None,
    ) -> None:
        self._folder = folder
        self._watched = not inline
        self._chunk_words = chunk_words
        place = (
            save_to / hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest() if save_to else None
        )
        self._ingest = Ingest(folder, inline=inline, chunk_words=chunk_words, language=language, save_to=place)
        self._lock = asyncio.Lock()
        self._restored = False
        self._tasks: list[asyncio.Task[None]] = []
        self._unsaved = asyncio.Event()
        self.shelf = Shelf(fault="The documents are not read yet.")
        self.listeners: list[Callable[[Change], None]] = []

    async def refresh(self, touched: Collection[Path] | None = None) -> bool:
        """
        Read again what has changed; says whether anything did.

        Searches go on in the old state until the new one is complete. A folder that cannot be read leaves the
        last good state, with the fault noted in it.

        Args:
            touched: the only paths that may have changed; None: any may have.
        """
        async with self._lock:
            before = self.shelf
            if not self._restored:
                before = await asyncio.to_thread(self._ingest.restored)
                self._restored = True
            shelf = await asyncio.to_thread(self._ingest.updated, before, touched)
            if shelf is self.shelf:
                return False
            first = self.shelf.fault is not None and not self.shelf.entries
            self.shelf = shelf
            if shelf is not before:
                self._unsaved.set()
            if shelf.change and not first:
                for tell in list(self.listeners):
                    tell(shelf.change)
            return True

    def start(self) -> None:
        """Follow the folder from now on, and keep the index when nothing changes for a while."""
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self._keep()))
            if self._watched:
                self._tasks.append(asyncio.create_task(self._follow()))

    async def close(self) -> None:
        """Stop following, keep what is not kept yet, and end the process that parses."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        async with self._lock:
            await self._tidy()
        await asyncio.to_thread(self._ingest.close)

    def search(self, query: str, *, k: int = 4) -> list[Hit]:
        """Find the chunks that best answer a question; see `Shelf.search`."""
        return self.shelf.search(query, k=k)

    def weight(self, word: str) -> float:
        """How much a word tells in these documents; see `Bm25Index.idf`."""
        return self.shelf.weight(word)

    def nearest(self, question: str, *, most: int = 3) -> list[str]:
        """The documents that look most like a question; see `Shelf.nearest`."""
        return self.shelf.nearest(question, most=most)

    def with_uploads(self, uploads: Sequence[Document]) -> Shelf:
        """The current state and a conversation's own documents."""
        return self.shelf.with_uploads(uploads, max_words=self._chunk_words)

    async def _follow(self) -> None:
        while True:
            try:
                await self._watch()
            except Exception as error:
                # Too many folders for the system's watcher, or the folder is gone: looking now and then still works.
                log.info("the documents are looked at every %g s (%s)", _QUIET_S, error)
            await asyncio.sleep(_QUIET_S)
            await self._refresh_safely(None)

    async def _watch(self) -> None:
        looked = asyncio.get_running_loop().time()
        changes = awatch(
            self._folder,
            watch_filter=None,
            debounce=_TOGETHER_MS,
            step=_STEP_MS,
            rust_timeout=int(_QUIET_S * 1000),
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=True,
        )
        async for events in changes:
            now = asyncio.get_running_loop().time()
            whole = len(events) > _STORM or now - looked > _LOOK_EVERY_S or self.shelf.fault is not None
            if whole or not self._folder.is_dir():
                looked = now
                await self._refresh_safely(None)
            elif events:
                await self._refresh_safely([Path(path) for _, path in events])
            if not self._folder.is_dir():
                raise FileNotFoundError(f"{self._folder} is gone")

    async def _refresh_safely(self, touched: Collection[Path] | None) -> None:
        try:
            await self.refresh(touched)
        except Exception:
            log.exception("the documents could not be looked at")  # and will be the next time

    async def _keep(self) -> None:
        while True:
            await self._unsaved.wait()
            shelf = None
            while shelf is not self.shelf:  # until nothing changes for a while
                shelf = self.shelf
                await asyncio.sleep(_QUIET_S)
            async with self._lock:
                if shelf is self.shelf:
                    await self._tidy()

    async def _tidy(self) -> None:
        if self._unsaved.is_set():
            self._unsaved.clear()
            self.shelf = await asyncio.to_thread(self._ingest.kept, self.shelf)

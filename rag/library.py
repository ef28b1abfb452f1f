"""The live document set: follows its folder, and swaps one whole state for the next."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from watchfiles import awatch

from rag.bm25 import Bm25Index, Hit
from rag.catalogue import Change, Entry
from rag.documents import Document, read_file
from rag.encoder import Encoder
from rag.errors import RagError
from rag.evidence import forget_texts
from rag.homes import UNUSED_DAYS, forget_unused, home_of
from rag.index import Index
from rag.ingest import Ingest, Stopped
from rag.meanings import MOST_CHUNKS, Keeping, Meanings, Vectors, can_learn
from rag.qdrant import Followed
from rag.shelf import Shelf, caught_up

log = logging.getLogger(__name__)
# It tells of each change, also of those in a log file among the documents.
logging.getLogger("watchfiles").setLevel(logging.WARNING)

# More changes than this at once are quicker found by one look at the whole folder.
_STORM = 500
# Events may get lost (a network disk, a full queue), so there is a look at the whole folder now and then: as often
# as this, in seconds, or where a look takes long, as often as costs this share of the time.
_LOOK_EVERY_S, _LOOKING = 4.0, 0.01
# Events come a few milliseconds apart when a file is copied; they are taken together.
_STEP_MS, _TOGETHER_MS = 50, 400
# How often to see whether the folder is still the one that is watched.
_TICK_MS = 500
# How long a look while we follow waits for files that need a parser, in seconds.
PATIENCE_S = 1.0
# How long nothing must change before listeners are told; and how long they wait at most, in seconds.
_CALM_S, _LATEST_S = 0.8, 10.0
# How long nothing must change before the index is tidied up and kept for the next start, and how long that waits at
# most: in seconds, and as many times as long as it took last.
_QUIET_S, _REST = 2.0, 2
_RESTLESS_S, _RESTLESS = 5.0, 4
# How often a server is asked whether its documents changed, in seconds.
_ASK_EVERY_S = 10.0
# How many meanings are learnt before looking up, and how long to wait while somebody needs an answer, in seconds.
_LESSON, _PAUSE_S = 4, 0.2
# So many chunks of a conversation's own documents are learnt while they are read in: three seconds' work.
_MOST_OWN = 120
_SETTLED_S = 5.0  # the model and the first question come first
_KEPT_EVERY = 100 * _LESSON
# Of how many sets of uploads the shelf is remembered.
_CONVERSATIONS = 16
KEPT = " Answers still come from what was read before."

P = ParamSpec("P")
T = TypeVar("T")


class Library:
    """
    The documents of a folder or of an inline list.

    Args:
        folder: where they are.
        inline: texts to use instead of the folder; empty: use the folder.
        chunk_words: the size of a chunk, in words.
        language: of all documents, an ISO 639-1 code; None: told by each one's text.
        save_to: a folder that keeps the index for the next start; None: it is not kept.
        read: reads one file, as `read_file` does.
        by_meaning: whether to compare the best chunks with a question by meaning too.

    Attributes:
        shelf: the current state. Whoever needs one state for longer keeps it; it never changes.
        listeners: called with what has changed since they were called last, once it has been calm for a moment;
            the first reading is no change.
        busy: asked whether the processor is needed for something more urgent than learning meanings.
    """

    def __init__(
        self,
        folder: Path,
        *,
        inline: Sequence[str] = (),
        chunk_words: int = 150,
        language: str | None = None,
        save_to: Path | None = None,
        read: Callable[..., Document] = read_file,
        by_meaning: bool = False,
        followed: Followed | None = None,
    ) -> None:
        self._folder = folder
        self._root = Path(os.path.abspath(folder))
        self._watched = not inline and followed is None
        self._asked = followed is not None
        self._chunk_words = chunk_words
        self._language = language
        place = home_of(folder, save_to) if save_to else None
        self._ingest: Ingest | Followed = followed or Ingest(
            folder, inline=inline, chunk_words=chunk_words, language=language, save_to=place, read=read
        )
        self._by_meaning = by_meaning
        self._meanings: Meanings | None = None
        self._place = place
        # A list is no folder, and has no home.
        self._keeping = Keeping(None if inline else place, is_ours=self._owns)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="library")  # the one thread that calls the ingest
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="library-keeping")  # and the one that writes
        self._lock = asyncio.Lock()
        self._restored = self._looked = False
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._unsaved = asyncio.Event()
        self._told: Mapping[str, Entry] | None = None  # what listeners know of
        self._telling: asyncio.Task[None] | None = None
        self._untold_since: float | None = None
        self._changed_at = 0.0
        self._with_uploads: dict[tuple[Document, ...], Shelf] = {}  # used from several threads
        self._with_uploads_of: Index | None = None
        self._own_vectors: dict[Document, Mapping[bytes, Vectors]] = {}
        self._forgotten = 0  # how often something was: a thread that began before keeps nothing
        self._uploads_lock = threading.Lock()
        self.shelf = Shelf(fault="The documents are not read yet.")
        self.listeners: list[Callable[[Change], None]] = []
        self.busy: Callable[[], bool] = lambda: False

    @property
    def progress(self) -> str:
        """How far a longer reading is, in words for the page; empty while there is none."""
        done, total = self._ingest.progress
        return f"Reading the documents: {done:,} of {total:,}" if done < total and total > 1 else ""

    async def refresh(self, touched: Collection[Path] | None = None, *, patience: float | None = None) -> bool:
        """
        Read again what has changed; says whether anything did.

        Searches go on in the old state until the new one is complete. A folder that cannot be read leaves the
        last good state, with the fault noted in it.

        Args:
            touched: the only paths that may have changed; None: any may have.
            patience: how long to wait for files that need a parser, in seconds; a later look finds the others.
                None: wait for all.
        """
        async with self._lock:
            if self._closed:
                return False
            before = self.shelf
            if not self._restored:
                before = await self._in_thread(self._ingest.restored)
            try:
                shelf = await self._in_thread(self._ingest.updated, before, touched, patience=patience)
                if isinstance(shelf.index, Bm25Index):
                    await self._in_thread(shelf.index.prepare)
            except Stopped:
                return False
            except (RagError, OSError) as error:
                # What is on a server is asked for there, and is gone with it.
                fault = f"{error}{KEPT if before.documents and not self._asked else ''}"
                shelf = before if fault == before.fault else replace(before, fault=fault, change=Change())
            else:
                if shelf is not before and shelf.entries is not before.entries:
                    self._changed_at = asyncio.get_running_loop().time()
                    self._unsaved.set()
                self._looked = True
                self._tell_of(shelf)
            self._restored = True
            old = self.shelf
            if shelf is old:
                return False
            self._swap(shelf)
            self._keeping.unkept = True
            return bool(shelf.change) or (shelf.fault, shelf.skipped) != (old.fault, old.skipped)

    def start(self) -> None:
        """Follow the folder from now on, and keep the index when nothing changes for a while."""
        if not self._tasks and not self._closed:
            self._tasks.append(asyncio.create_task(self._keep()))
            if self._place:
                self._tasks.append(asyncio.create_task(self._forget_homes(self._place)))
            if self._watched:
                self._tasks.append(asyncio.create_task(self._follow()))
            if self._by_meaning or self._keeping.home:
                self._tasks.append(asyncio.create_task(self._learn_on()))
            if self._asked:
                self._tasks.append(asyncio.create_task(self._ask_now_and_then()))

    async def close(self) -> None:
        """Stop following and reading, keep what is not kept yet, and end the threads and the process that parses."""
        if self._closed:
            return
        self._closed = True
        self._ingest.stop()
        tasks = [*self._tasks, *([self._telling] if self._telling else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        try:
            async with self._lock:
                pass  # what is being read comes to its end
            await self._tidy()
            if self._keeping.unkept:
                await asyncio.wrap_future(self._keeper.submit(self._keep_meanings))
        finally:
            await asyncio.to_thread(self._keeper.shutdown)
            await self._in_thread(self._ingest.close)
            await asyncio.to_thread(self._worker.shutdown)

    async def learn(self, *, most: int | None = None) -> None:
        """
        Learn what the chunks mean that nobody knows yet, unless they are too many.

        Takes some 25 ms for each; searches go by words alone until all that they look at are known.

        Args:
            most: how many chunks to learn; None: all.
        """
        index = self.shelf.index
        if not self._by_meaning or not isinstance(index, Bm25Index) or len(index) > MOST_CHUNKS:
            return
        if self._meanings is None:
            self._meanings = await asyncio.to_thread(Meanings, Encoder, save_to=self._keeping.home)
        meanings = self._meanings
        chunks = await asyncio.to_thread(list, index.chunks)
        if not any(map(can_learn, chunks)):
            await self._keep_meanings_soon()  # those of texts that are gone go
            return
        if most is None:
            await asyncio.to_thread(meanings.warm)
        async with self._lock:
            if self.shelf.meaning is None:
                self.shelf = replace(self.shelf, meaning=meanings.nearness)
                with self._uploads_lock:  # what was sent before takes part from now on
                    self._with_uploads.clear()
        missing = (await asyncio.to_thread(meanings.missing, chunks))[:most]
        for begin in range(0, len(missing), _LESSON):
            if self._closed or self.shelf.index is not index:
                break
            await asyncio.to_thread(meanings.learn, missing[begin : begin + _LESSON])
            self._keeping.unkept = True
            if begin and begin % _KEPT_EVERY == 0:
                await self._keep_meanings_soon()
            while self.busy() and not self._closed:  # noqa: ASYNC110 (a callable has no event)
                await asyncio.sleep(_PAUSE_S)
        await self._keep_meanings_soon()

    def search(self, query: str, *, k: int = 4) -> list[Hit]:
        """Find the chunks that best answer a question; see `Shelf.search`."""
        return self.shelf.search(query, k=k)

    def weight(self, word: str) -> float:
        """How much a word tells in these documents; see `Bm25Index.idf`."""
        return self.shelf.weight(word)

    def with_uploads(self, uploads: Sequence[Document]) -> Shelf:
        """The current state and a conversation's own documents; asked for again, it is the same object."""
        if not uploads:
            return self.shelf
        key = tuple(uploads)
        with self._uploads_lock:
            shelf, known = self.shelf, self._with_uploads
            if known and self._with_uploads_of is not shelf.index:
                known.clear()
            self._with_uploads_of = shelf.index
            found, forgotten = known.get(key), self._forgotten
        if found is None:
            found = self._by_their_meaning(
                shelf.with_uploads(uploads, max_words=self._chunk_words, language=self._language), uploads
            )
            with self._uploads_lock:
                if self._with_uploads_of is shelf.index and self._forgotten == forgotten:
                    while len(known) >= _CONVERSATIONS:
                        del known[next(iter(known))]
                    known[key] = found
        return found

    def _by_their_meaning(self, shelf: Shelf, uploads: Sequence[Document]) -> Shelf:
        # With the meanings of a conversation's own documents too, if they are not too long to wait for.
        if shelf.meaning is None or self._meanings is None:
            return shelf
        own: dict[bytes, Vectors] = {}
        for upload in uploads:
            with self._uploads_lock:
                vectors, forgotten = self._own_vectors.get(upload), self._forgotten
            if vectors is None:
                chunks = shelf.index.document(upload.name) if not shelf.entries[upload.name].reason else []
                vectors = self._meanings.learnt(chunks) if len(chunks) <= _MOST_OWN else {}
                with self._uploads_lock:
                    if self._forgotten == forgotten:  # else the conversation may be over
                        self._own_vectors[upload] = vectors
            own |= vectors
        return replace(shelf, meaning=partial(self._meanings.nearness, beside=own))

    def forget(self, uploads: Sequence[Document]) -> None:
        """Remember nothing more of a conversation's own documents."""
        gone = set(uploads)
        with self._uploads_lock:
            self._forgotten += 1
            for key in [key for key in self._with_uploads if gone & set(key)]:
                del self._with_uploads[key]
            for upload in gone:
                self._own_vectors.pop(upload, None)

    async def _in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, lambda: call(*args, **kwargs))

    def _swap(self, shelf: Shelf) -> None:
        self.shelf = shelf
        with self._uploads_lock:
            if self._with_uploads_of is not shelf.index:  # and would keep the texts that are gone
                self._with_uploads.clear()
                self._with_uploads_of = None

    def _tell_of(self, shelf: Shelf) -> None:
        if self._told is None:
            self._told = shelf.entries
        if not shelf.change or shelf is self.shelf or shelf.entries is self._told or self._closed:
            return
        if self._untold_since is None:
            self._untold_since = asyncio.get_running_loop().time()
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        # Calls come in quick succession: listeners are told when it is calm, or when it is not calm for too long.
        time = asyncio.get_running_loop().time
        while self._untold_since is not None:
            latest = self._untold_since + _LATEST_S
            while (now := time()) < latest:
                calm = now if self._lock.locked() else self._changed_at  # more is being read
                if now >= calm + _CALM_S:
                    break
                await asyncio.sleep(min(calm + _CALM_S, latest) - now)
            self._untold_since = None
            before, self._told = self._told or {}, self.shelf.entries
            change = await asyncio.to_thread(Change.between, before, self._told)
            if change.changed or change.removed:
                forget_texts()
            for tell in list(self.listeners) if change else []:
                try:
                    tell(change)
                except Exception:
                    log.exception("a listener failed")

    async def _follow(self) -> None:
        while True:
            try:
                await self._watch()
            except Exception as error:
                # Too many folders for the system's watcher, or the folder is gone: looking now and then still works.
                log.debug("the documents are looked at every %g s (%s)", _QUIET_S, error)
                await asyncio.sleep(_QUIET_S)
                await self._look(None)

    async def _learn_on(self) -> None:
        index: Index | None = None
        await asyncio.sleep(_SETTLED_S)
        while True:
            try:
                if self.shelf.index is not index:
                    index = self.shelf.index
                    await self.learn()
                await self._keep_meanings_soon()
            except Exception:
                log.exception("what the documents mean could not be learnt or kept")
            await asyncio.sleep(_QUIET_S)

    async def _keep_meanings_soon(self) -> None:
        # An emptied folder costs nothing to keep.
        if not self._closed and (self._keeping.is_due or (self._keeping.unkept and not len(self.shelf.index))):
            await asyncio.wrap_future(self._keeper.submit(self._keep_meanings))

    def _keep_meanings(self) -> None:
        # In the one thread that writes. Before the first look nobody knows what is gone.
        if not self._looked:
            return
        self._keeping.unkept, index = False, self.shelf.index  # in this order: what comes later is kept later
        try:
            if isinstance(index, Bm25Index):
                # More than the most are never compared.
                self._keeping.keep(list(index.chunks) if len(index) <= MOST_CHUNKS else [], self._meanings)
        except Exception:  # they save the next start some time, and are worth no more
            self._keeping.unkept = True
            log.exception("what the documents mean could not be kept")

    def _owns(self, home: Path) -> bool:
        return isinstance(self._ingest, Ingest) and self._ingest.has_home(home)

    async def _ask_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_ASK_EVERY_S)
            await self._look(None)

    async def _watch(self) -> None:
        # Until the folders are no longer those that are watched.
        time = asyncio.get_running_loop().time
        watched, home = self._ingest.folders, await asyncio.to_thread(_home, self._root)
        paths = await asyncio.to_thread(lambda: list(map(self._from_root, watched)))
        # Linux has a watch for each folder, and the watcher would follow links, out of the folder and anywhere.
        each = sys.platform == "linux"
        looked = -_LOOK_EVERY_S
        changes = awatch(
            *(paths if each and watched else [self._root]),
            watch_filter=None,
            debounce=_TOGETHER_MS,
            step=_STEP_MS,
            rust_timeout=_TICK_MS,
            yield_on_timeout=True,
            recursive=not each,
            ignore_permission_denied=True,
        )
        async with aclosing(changes):
            async for events in changes:
                pause = max(_LOOK_EVERY_S, self._ingest.look_s / _LOOKING)
                if 0 < len(events) <= _STORM:  # first, as somebody may wait for it
                    await self._look([self._below(path) for _, path in events])
                if len(events) > _STORM or time() - looked > pause or self.shelf.fault is not None:
                    await self._look(None)
                    looked = time()
                if self._ingest.folders != watched or await asyncio.to_thread(_home, self._root) != home:
                    return

    def _from_root(self, path: str) -> Path:
        return self._root / Path(path).relative_to(self._folder)

    def _below(self, path: str) -> Path:
        # The path of an event as the ingest names it.
        event = Path(path)
        return self._folder / event.relative_to(self._root) if event.is_relative_to(self._root) else event

    async def _look(self, touched: Collection[Path] | None) -> None:
        try:
            await self.refresh(touched, patience=PATIENCE_S)
        except Exception:
            log.exception("the documents could not be looked at")  # and will be the next time

    async def _keep(self) -> None:
        took = 0.0
        time = asyncio.get_running_loop().time
        while True:
            await self._unsaved.wait()
            latest = time() + max(_RESTLESS_S, _RESTLESS * took)
            while True:
                now, quiet = time(), self._changed_at + max(_QUIET_S, _REST * took)
                if now >= min(quiet, latest):
                    break
                await asyncio.sleep(min(quiet, latest) - now)
            try:
                await self._tidy()
            except Exception:
                log.exception("the index could not be kept")  # and is tried again after the next change
            took = time() - now

    async def _tidy(self) -> None:
        # Takes long: what changes meanwhile is read and found, and is kept the next time.
        if not self._unsaved.is_set():
            return
        self._unsaved.clear()
        before = self.shelf
        keeping = self._keeper.submit(self._ingest.kept, before)
        try:
            kept = await asyncio.wrap_future(keeping)
        except asyncio.CancelledError:
            if keeping.cancelled():  # before it began
                self._unsaved.set()
            raise
        if kept is before:
            return
        async with self._lock:
            self._swap(await self._in_thread(caught_up, kept, before, self.shelf))

    async def _forget_homes(self, own: Path) -> None:
        await asyncio.sleep(_QUIET_S)
        gone = await asyncio.to_thread(forget_unused, own.parent, but=own)
        if gone:
            log.info("deleted %d indexes that nobody has used for %d days", len(gone), UNUSED_DAYS)


def _home(folder: Path) -> tuple[int, int] | None:
    # Which folder it is, whatever leads there; None while there is none.
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino

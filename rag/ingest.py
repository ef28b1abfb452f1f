"""From the folder to the shelf: looks for what changed, reads that alone, and keeps the result for the next start."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

from rag.arrays import tidy_folder
from rag.bm25 import Bm25Index, BrokenFile
from rag.catalogue import Change, Entry, Stamp, from_columns, to_columns
from rag.chunking import Chunk, split
from rag.documents import (
    Document,
    Skipped,
    check_folder,
    find_files,
    is_passed_over,
    name_of,
    path_of,
    read_file,
    read_inline,
)
from rag.errors import DocumentsError
from rag.homes import lock_of
from rag.index import Index
from rag.part import rules
from rag.readers import FORMATS
from rag.readers.process import Parsers
from rag.savelock import SaveLock
from rag.shelf import Shelf, in_language, title_of

log = logging.getLogger(__name__)

# Whatever changes what a document becomes (readers, chunking) raises it, and saved indexes are built anew.
_VERSION = 3
_READ_WITH = (
    "py3langid", "charset-normalizer", "lxml", "pypdfium2", "mammoth", "python-pptx", "openpyxl", "docutils",
)  # fmt: skip
# A larger text is not decoded and cut before the others, but beside them: 1 MB can take a second, 20 MB many.
_LARGE_TEXT = 1_000_000  # bytes
# A file that was written this shortly before it was read may be written again without looking any newer.
_TICK_NS = 20_000_000
# As many chunks are indexed at once: no more than a second's work, so that whoever wants to stop is heard.
_FEWEST_AT_ONCE, _MOST_AT_ONCE = 2_000, 8_000


class Stopped(Exception):
    """The reading was ended by `Ingest.stop`."""


@dataclass(frozen=True)
class _Look:
    # What a look at the folder found: entries that are still true, files to read, and the folders, our own first.
    kept: dict[str, Entry]
    to_read: dict[str, Path]
    folders: tuple[str, ...] | None = None


@dataclass(frozen=True)
class _Read:
    # A file that was read, with its chunks; none where it is left out.
    entry: Entry
    chunks: tuple[Chunk, ...] = ()


@dataclass
class _Growing:
    # An index that takes documents one after the other, many at a time.
    index: Index
    waiting: dict[str, Sequence[Chunk]] = field(default_factory=dict)
    size: int = 0
    merged_at: int = 0
    is_large: bool = False  # whether so much was added that it pays to end in one piece

    def add(self, name: str, chunks: Sequence[Chunk]) -> None:
        self.waiting[name] = chunks
        self.size += len(chunks)
        if self.size >= min(max(_FEWEST_AT_ONCE, len(self.index) // 4), _MOST_AT_ONCE):
            self.flush()
            self.is_large = True
            if len(self.index) > 2 * self.merged_at:
                # What lies beside the base is copied with each addition: it must not grow with the square.
                self.index = self.index.merged()
                self.merged_at = len(self.index)

    def flush(self, removed: Collection[str] = ()) -> None:
        if self.waiting or removed:
            self.index = self.index.updated(self.waiting, removed)
        self.waiting, self.size = {}, 0


class Ingest:
    """
    Reads a folder, or an inline list, into shelves. Everything here takes its time: call it in one thread, all but
    `stop` and the attributes, which are for others to read, and `kept`, which has a thread of its own.

    Args:
        folder: where the documents are.
        inline: texts to use instead of the folder; empty: use the folder.
        chunk_words: the size of a chunk, in words.
        language: of all documents, an ISO 639-1 code; None: told by each one's text.
        save_to: the folder to keep the index in; None: not kept.
        read: reads one file, as `read_file` does.

    Attributes:
        folders: the docs folder and all below it, as of the last look at everything; links are not among them.
        progress: how many files are read, and of how many; the same when there is nothing to read.
        look_s: how long the last look at everything took, in seconds.
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
    ) -> None:
        self._folder = folder
        self._inline = tuple(inline)
        self._chunk_words = chunk_words
        self._language = language
        self._save_to = save_to
        self._read_file = read
        self._parsers = Parsers()
        self._lane = ThreadPoolExecutor(1, thread_name_prefix="parsing")
        self._parsing: dict[str, tuple[Stamp | None, Future[_Read | None]]] = {}
        self._stopped = threading.Event()
        self._lock: SaveLock | None = None
        self._disk = ""  # where the disk that the folder was on is mounted
        self.folders: tuple[str, ...] = ()
        self.progress = (0, 0)
        self.look_s = 0.0

    def stop(self) -> None:
        """From any thread: end what is being read, with `Stopped`, and read nothing more."""
        self._stopped.set()
        self._parsers.close()

    def close(self) -> None:
        """End the thread and the child process that parse, after the last call of anything else."""
        self.stop()
        self._lane.shutdown(cancel_futures=True)
        self._parsers.close()
        if self._lock:
            self._lock.release()

    def restored(self) -> Shelf:
        """The shelf as it was saved; an empty one if it was not, or for other settings, or is damaged."""
        if self._save_to is None or self._inline:
            return Shelf()
        for attempt in (1, 2):  # another process may have put a newer one there meanwhile
            try:
                index = Bm25Index.load(self._save_to)
                manifest = index.manifest
                if manifest["made_by"] != self._made_by():
                    return Shelf()
                entries = from_columns(manifest["entries"])
                entries = {name: entry for name, entry in entries.items() if not entry.reason}  # tried again
                if index.names != [name for name, entry in entries.items() if entry.indexed]:
                    raise BrokenFile(f"{self._save_to} lists other documents than it holds")
                self._disk = str(manifest["disk"])
                if self.has_home(self._save_to):
                    tidy_folder(self._save_to)
                return Shelf(entries, index)
            except (BrokenFile, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
                if os.path.exists(self._save_to) and attempt > 1:
                    log.info("the saved index is built anew: %s", error)
                    self._forget_saved(self._save_to)
        return Shelf()

    def _forget_saved(self, place: Path) -> None:
        # Files are named by what should be in them: a damaged one must not be taken for a whole one when saving.
        with contextlib.suppress(OSError):
            if self.has_home(place):
                for path in place.glob("*.bin"):
                    path.unlink()
                for path in place.glob("*.tmp"):
                    path.unlink()

    def has_home(self, place: Path) -> bool:
        """Whether this process may write to a home; it takes one that no other has."""
        self._lock = self._lock or lock_of(place)
        return self._lock.acquire()

    def _save(self, shelf: Shelf) -> None:
        if self._save_to is None or self._inline:
            return
        manifest = {"made_by": self._made_by(), "disk": self._disk, "entries": to_columns(shelf.entries.values())}
        try:
            self._save_to.mkdir(mode=0o700, parents=True, exist_ok=True)  # as private as the documents may be
            if self.has_home(self._save_to) and isinstance(shelf.index, Bm25Index):
                shelf.index.save(self._save_to, manifest)
        except OSError as error:
            log.warning("the index cannot be kept in %s: %s", self._save_to, error)

    def kept(self, shelf: Shelf) -> Shelf:
        """
        Keep a shelf for the next start, and tidy it up: what was removed is then nowhere any more, on no disk either.

        May go on in a second thread while the first makes newer shelves; see `rag.shelf.caught_up`.

        A disk that is full or closed costs nothing but the time of that start. Of several processes that keep the
        same index, the first does.
        """
        if shelf.index.has_removed or shelf.index.needs_merge:
            shelf = replace(shelf, index=shelf.index.merged())
            if isinstance(shelf.index, Bm25Index):
                shelf.index.prepare()
        self._save(shelf)
        return shelf

    def updated(self, shelf: Shelf, touched: Collection[Path] | None = None, *, patience: float | None = None) -> Shelf:
        """
        The shelf as the folder is now; the same object if nothing changed.

        Args:
            shelf: the state before.
            touched: the only paths that may have changed; None: any may have.
            patience: how long to wait for files that need a parser, in seconds. What is not parsed by then goes on
                being parsed, and a later look at the whole folder finds it; None: wait for all.

        Raises:
            DocumentsError, OSError: the folder cannot be read, or was taken away meanwhile.
            Stopped: by `stop`.
        """
        if self._inline:
            return shelf if shelf.entries else self._of_inline()
        check_folder(self._folder)
        before = os.stat(self._folder)
        look = (self._look_at(touched, shelf) if touched is not None else None) or self._look(shelf)
        disk = _disk_of(self._folder)
        if self._disk not in ("", disk) and shelf.documents and not (look.kept or look.to_read):
            # An unmounted disk leaves an empty folder on another one. A folder that somebody emptied is empty.
            raise DocumentsError(f"{self._folder} is empty and no longer on the disk at {self._disk}. Is it mounted?")
        updated = self._with(shelf, look, patience)
        if not os.path.samestat(before, os.stat(self._folder)):
            raise DocumentsError(f"{self._folder} was replaced while it was read.")
        self._disk = disk
        self.folders = look.folders or self.folders
        return updated

    def _look(self, shelf: Shelf) -> _Look:
        begun = time.monotonic()
        closed: list[Skipped] = []
        folders: list[str] = []
        look = _Look({}, {})
        for path in find_files(self._folder, closed=closed, folders=folders):
            name = name_of(path, self._folder)
            stamp, entry = _stamp(path), shelf.entries.get(name)
            if name in look.kept or name in look.to_read:
                continue  # two names that look the same: one of them
            if stamp is None:
                continue
            if entry is not None and entry.stamp == stamp:
                look.kept[name] = entry
            else:
                look.to_read[name] = path
        look.kept.update((one.name, Entry(one.name, reason=one.reason)) for one in closed)
        for name in self._parsing.keys() - look.to_read.keys():
            self._parsing.pop(name)[1].cancel()
        self.look_s = time.monotonic() - begun
        return replace(look, folders=tuple(folders))

    def _look_at(self, touched: Collection[Path], shelf: Shelf) -> _Look | None:
        # None where a look at single files is not enough.
        look, known = _Look(dict(shelf.entries), {}), set(self.folders)
        for path in touched:
            try:
                name = name_of(path, self._folder)
            except ValueError:
                return None
            if is_passed_over(name):
                continue
            if path.is_dir() or path.is_symlink():
                return None
            stamp, entry = _stamp(path), look.kept.get(name)
            if entry is None and stamp is None:
                if str(path) in known:
                    return None
                continue  # come and gone
            if entry is None or entry.stamp != stamp:
                look.kept.pop(name, None)
                if stamp is not None:
                    look.to_read[name] = path
        return look

    def _with(self, shelf: Shelf, look: _Look, patience: float | None) -> Shelf:
        old = shelf.entries
        if not look.to_read and look.kept == old and not shelf.fault:
            return shelf
        entries = dict(look.kept)
        growing = _Growing(shelf.index, merged_at=len(shelf.index))
        first_of: dict[str, str] = {}  # the first name of each text
        for name, entry in entries.items():
            if entry.digest:
                first_of[entry.digest] = min(name, first_of.get(entry.digest, name))
        added: dict[str, str] = {}  # digests of what was given to the index, by name

        def take(one: _Read) -> None:
            name, digest = one.entry.name, one.entry.digest
            entries[name] = one.entry
            before = old.get(name)
            if one.chunks and first_of.setdefault(digest, name) >= name:
                first_of[digest] = name
                if before is None or not before.indexed or before.digest != digest:
                    growing.add(name, one.chunks)
                    added[name] = digest

        for one in self._reads(look.to_read, old, patience):
            take(one)
        entries = {name: entries[name] for name in sorted(entries)}
        tried: set[str] = set()
        while True:
            _choose_originals(entries)
            # Copies whose original is gone.
            orphans = [
                name
                for name, entry in entries.items()
                if entry.indexed and name not in tried and added.get(name) != entry.digest
                and not ((before := old.get(name)) and before.indexed and before.digest == entry.digest)
            ]  # fmt: skip
            if not orphans:
                break
            tried.update(orphans)
            for name in orphans:
                first_of[entries[name].digest] = name
                again = self._read(path_of(name, self._folder), name)
                if again is None:
                    del entries[name]
                else:
                    take(again)
        growing.flush()
        growing.flush([name for name in growing.index.names if name not in entries or not entries[name].indexed])
        if growing.is_large and growing.index.needs_merge:
            growing.index = growing.index.merged()
        fault = None if growing.index.names else self._nothing(entries)
        if growing.index is shelf.index and entries == old and fault == shelf.fault:
            return shelf
        return Shelf(entries, growing.index, fault, Change.between(old, entries), shelf.meaning)

    def _reads(self, paths: Mapping[str, Path], old: Mapping[str, Entry], patience: float | None) -> Iterator[_Read]:
        # What can be read here, while another thread waits for the parser, or cuts long texts; then what that made.
        here: dict[str, Path] = {}
        parsed: dict[str, Future[_Read | None]] = {}
        for name, path in sorted(paths.items()):
            chosen = FORMATS.get(path.suffix.lower())
            stamp = _stamp(path)
            if chosen is not None and (chosen.risky or (stamp is not None and stamp.size > _LARGE_TEXT)):
                parsed[name] = self._being_parsed(path, name)
            else:
                here[name] = path
        self.progress = (0, len(paths))
        try:
            for name, path in here.items():
                yield from filter(None, [self._read(path, name)])
                self.progress = (self.progress[0] + 1, len(paths))
            until = None if patience is None else time.monotonic() + patience
            for name, future in parsed.items():
                try:
                    one = future.result(None if until is None else max(0.0, until - time.monotonic()))
                    del self._parsing[name]
                except TimeoutError:
                    one = _Read(old.get(name, Entry(name, reason="is being read")))
                yield from filter(None, [one])
                self.progress = (self.progress[0] + 1, len(paths))
        finally:
            self.progress = (0, 0)

    def _being_parsed(self, path: Path, name: str) -> Future[_Read | None]:
        stamp = _stamp(path)
        before, future = self._parsing.get(name, (None, None))
        if future is None or before != stamp:
            if future is not None:
                future.cancel()
            future = self._lane.submit(self._read, path, name)
            self._parsing[name] = (stamp, future)
        return future

    def _read(self, path: Path, name: str) -> _Read | None:
        # None: it is gone.
        if self._stopped.is_set():
            raise Stopped
        stamp = _stamp(path)
        if stamp is None:
            return None
        entry = Entry(name, stamp.size, stamp.mtime_ns, stamp.ctime_ns)
        if 0 <= time.time_ns() - stamp.ctime_ns < _TICK_NS:
            entry = replace(entry, ctime_ns=0)
        try:
            document = in_language(self._read_file(path, name=name, parsers=self._parsers), self._language)
            return self._split(document, entry)
        except DocumentsError as error:
            if self._stopped.is_set():
                raise Stopped from error
            return _Read(replace(entry, reason=str(error))) if _stamp(path) else None
        except Exception:
            # One file must not cost the others, whatever is wrong with it or with us.
            log.exception("%r could not be read", name)
            return _Read(replace(entry, reason="could not be read; the log says why"))

    def _split(self, document: Document, entry: Entry) -> _Read:
        chunks = tuple(split(document, max_words=self._chunk_words))
        if not chunks:
            return _Read(replace(entry, reason="no text to search"))
        entry = replace(
            entry,
            digest=_digest(chunks),
            chunks=len(chunks),
            title=title_of(document, (chunk.heading for chunk in chunks)),
            language=document.language,
        )
        return _Read(entry, chunks)

    def _of_inline(self) -> Shelf:
        try:
            documents = read_inline(self._inline).documents
        except DocumentsError as error:
            return Shelf(fault=str(error))
        read = [self._split(in_language(one, self._language), Entry(one.name)) for one in documents]
        entries = {one.entry.name: one.entry for one in read}
        index = Bm25Index([chunk for one in read for chunk in one.chunks])
        return Shelf(entries, index, None, Change.between({}, entries))

    def _nothing(self, entries: Mapping[str, Entry]) -> str:
        files = [entry for entry in entries.values() if entry.reason]
        why = f" Left out: {'; '.join(f'{file.name} ({file.reason})' for file in files[:5])}." if files else ""
        return f"No readable documents in {self._folder}.{why} Add some, or set RAG_DOCS_DIR to another folder."

    def _made_by(self) -> list[str | int]:
        return [_VERSION, rules(), _readers(), os.path.realpath(self._folder), self._chunk_words, self._language or ""]


@cache
def _readers() -> str:
    # Another version of a reader, or of what tells languages, may make other text of the same file.
    return " ".join(f"{name} {version(name)}" for name in _READ_WITH)


def _digest(chunks: Sequence[Chunk]) -> str:
    # The same for the same text, whatever the file's format and name.
    digest = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        told = (chunk.heading, chunk.text, chunk.start, chunk.end, chunk.page, chunk.opening, chunk.language)
        digest.update(repr(told).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _disk_of(folder: Path) -> str:
    # Where its disk is mounted: unlike a disk's number, the same after a restart.
    path = os.path.realpath(folder)
    while not os.path.ismount(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def _stamp(path: Path) -> Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        try:
            status = os.lstat(path)  # a link that leads nowhere, or round and round, is listed with its reason
        except FileNotFoundError:
            return None
        except OSError:  # nobody may look at it: reading it says so
            return Stamp(0, 0, 0)
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _choose_originals(entries: dict[str, Entry]) -> None:
    # Of the documents with the same text, the first by name is indexed and stands for the others.
    first_of: dict[str, str] = {}
    for name, entry in entries.items():
        if entry.digest and not entry.reason:
            first = first_of.setdefault(entry.digest, name)
            original = "" if first == name else first
            if entry.copy_of != original:
                entries[name] = replace(entry, copy_of=original)

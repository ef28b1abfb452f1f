"""From the folder to the shelf: looks for what changed, reads that alone, and keeps the result for the next start."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rag.bm25 import Bm25Index, BrokenFile
from rag.catalogue import Change, Entry, Stamp, from_columns, to_columns
from rag.chunking import Chunk, split
from rag.documents import Document, Skipped, check_folder, find_files, is_passed_over, name_of, read_file, read_inline
from rag.errors import DocumentsError
from rag.readers.process import Parsers
from rag.shelf import Shelf, in_language, title_of

log = logging.getLogger(__name__)

# Whatever changes what a document becomes (readers, chunking) raises it, and saved indexes are built anew.
_VERSION = 1
KEPT = " Answers still come from what was read before."


@dataclass(frozen=True)
class _Look:
    # What a look at the folder found: entries that are still true, and files to read.
    kept: dict[str, Entry]
    to_read: dict[str, Path]


@dataclass(frozen=True)
class _Read:
    # A file that was read, with its chunks; none where it is left out.
    entry: Entry
    chunks: tuple[Chunk, ...] = ()


class Ingest:
    """
    Reads a folder, or an inline list, into shelves. Everything here takes its time: call it in a thread.

    Args:
        folder: where the documents are.
        inline: texts to use instead of the folder; empty: use the folder.
        chunk_words: the size of a chunk, in words.
        language: of all documents, an ISO 639-1 code; None: told by each one's text.
        save_to: the folder to keep the index in; None: not kept.
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
        self._inline = tuple(inline)
        self._chunk_words = chunk_words
        self._language = language
        self._save_to = save_to
        self._parsers = Parsers()
        self._device: int | None = None  # the disk that the folder was on

    def close(self) -> None:
        """End the child process that parses."""
        self._parsers.close()

    def restored(self) -> Shelf:
        """The shelf as it was saved; an empty one if it was not, or for other settings, or is damaged."""
        if self._save_to is None or self._inline:
            return Shelf()
        try:
            index = Bm25Index.load(self._save_to)
            manifest = index.manifest
            if manifest["made_by"] != self._made_by():
                return Shelf()
            self._device = manifest["device"]
            return Shelf(from_columns(manifest["entries"]), index)
        except (BrokenFile, KeyError, TypeError, ValueError) as error:
            if self._save_to.exists():
                log.info("the saved index is built anew: %s", error)
            return Shelf()

    def _save(self, shelf: Shelf) -> None:
        if self._save_to is None or self._inline:
            return
        manifest = {"made_by": self._made_by(), "device": self._device, "entries": to_columns(shelf.entries.values())}
        try:
            self._save_to.mkdir(parents=True, exist_ok=True)
            shelf.index.save(self._save_to, manifest)
        except OSError as error:
            log.warning("the index cannot be kept in %s: %s", self._save_to, error)

    def kept(self, shelf: Shelf) -> Shelf:
        """
        Keep a shelf for the next start, and tidy it up: what was removed is then nowhere any more, on no disk either.

        A disk that is full or closed costs nothing but the time of that start.
        """
        if shelf.index.has_removed or shelf.index.needs_merge:
            shelf = replace(shelf, index=shelf.index.merged())
        self._save(shelf)
        return shelf

    def updated(self, shelf: Shelf, touched: Collection[Path] | None = None) -> Shelf:
        """
        The shelf as the folder is now; the same object if nothing changed.

        Args:
            shelf: the state before.
            touched: the only paths that may have changed; None: any may have.
        """
        if self._inline:
            return shelf if shelf.entries else self._of_inline()
        try:
            check_folder(self._folder)
            look = (self._look_at(touched, shelf) if touched is not None else None) or self._look(shelf)
            self._refuse_emptied(shelf, look)
        except (DocumentsError, OSError) as error:
            fault = f"{error}{KEPT if shelf.documents else ''}"
            return shelf if fault == shelf.fault else replace(shelf, fault=fault, change=Change())
        return self._with(shelf, look)

    def _look(self, shelf: Shelf) -> _Look:
        closed: list[Skipped] = []
        look = _Look({}, {})
        for path in find_files(self._folder, closed=closed):
            name = name_of(path, self._folder)
            stamp, entry = _stamp(path), shelf.entries.get(name)
            if stamp is None:
                continue
            if entry is not None and entry.stamp == stamp:
                look.kept[name] = entry
            else:
                look.to_read[name] = path
        look.kept.update((one.name, Entry(one.name, reason=one.reason)) for one in closed)
        return look

    def _look_at(self, touched: Collection[Path], shelf: Shelf) -> _Look | None:
        # None where a look at single files is not enough.
        look = _Look(dict(shelf.entries), {})
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
                return None  # a folder that is gone, perhaps
            if entry is None or entry.stamp != stamp:
                look.kept.pop(name, None)
                if stamp is not None:
                    look.to_read[name] = path
        return look

    def _refuse_emptied(self, shelf: Shelf, look: _Look) -> None:
        # An unmounted disk leaves an empty folder on another one. A folder that somebody emptied is empty.
        device = os.stat(self._folder).st_dev
        if self._device is not None and device != self._device and shelf.documents and not (look.kept or look.to_read):
            raise DocumentsError(f"{self._folder} is empty and on another disk than before. Is its disk mounted?")
        self._device = device

    def _with(self, shelf: Shelf, look: _Look) -> Shelf:
        old = shelf.entries
        if not look.to_read and look.kept == old and not shelf.fault:
            return shelf
        read = {name: self._read(path, name) for name, path in look.to_read.items()}
        entries = look.kept | {name: one.entry for name, one in read.items()}
        entries = {name: entries[name] for name in sorted(entries)}
        gone = old.keys() - entries.keys()
        stale = {old[name].digest for name in (*read, *gone) if name in old}
        _choose_originals(entries, stale | {one.entry.digest for one in read.values()})
        replaced: dict[str, tuple[Chunk, ...]] = {}
        for name, entry in entries.items():
            before = old.get(name)
            if not entry.digest or entry.copy_of or (before and before.indexed and before.digest == entry.digest):
                continue
            one = read.get(name) or self._read(self._folder / name, name)  # a copy whose original is gone
            entries[name] = one.entry
            replaced[name] = one.chunks
        removed = [name for name in shelf.index.names if name not in entries or not entries[name].indexed]
        index = shelf.index.updated(replaced, removed) if replaced or removed else shelf.index
        fault = None if index.names else self._nothing(entries)
        return Shelf(entries, index, fault, Change.between(old, entries))

    def _read(self, path: Path, name: str) -> _Read:
        stamp = _stamp(path) or Stamp(0, 0, 0)
        entry = Entry(name, stamp.size, stamp.mtime_ns, stamp.ctime_ns)
        try:
            document = in_language(read_file(path, name=name, parsers=self._parsers), self._language)
            return self._split(document, entry)
        except DocumentsError as error:
            return _Read(replace(entry, reason=str(error)))
        except Exception:
            # One file must not cost the others, whatever is wrong with it or with us.
            log.exception("%r could not be read", name)
            return _Read(replace(entry, reason="could not be read; the log says why"))

    def _split(self, document: Document, entry: Entry) -> _Read:
        chunks = tuple(split(document, max_words=self._chunk_words))
        if not chunks:
            return _Read(replace(entry, reason="no text to search"))
        digest = hashlib.blake2b(f"{document.is_markdown}\n{document.text}".encode("utf-8", "replace"), digest_size=16)
        entry = replace(
            entry,
            digest=digest.hexdigest(),
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
        return [_VERSION, str(self._folder.resolve()), self._chunk_words, self._language or ""]


def _stamp(path: Path) -> Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        try:
            status = os.lstat(path)  # a link that leads nowhere, or round and round, is listed with its reason
        except OSError:
            return None
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _choose_originals(entries: dict[str, Entry], digests: Collection[str]) -> None:
    # Of the documents with the same text, the first by name is indexed and stands for the others.
    same: dict[str, list[str]] = defaultdict(list)
    for name, entry in entries.items():
        if entry.digest in digests and not entry.reason:
            same[entry.digest].append(name)
    for digest, names in same.items():
        if digest:
            entries[names[0]] = replace(entries[names[0]], copy_of="")
            for name in names[1:]:
                entries[name] = replace(entries[name], copy_of=names[0])

"""Fill a collection from a folder: what is there already is not read again, so a load that broke off goes on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rag.chunking import Chunk, split
from rag.documents import Skipped, check_folder, find_files, name_of, read_file
from rag.errors import DocumentsError
from rag.part import rules, terms
from rag.qdrant.collection import Collection
from rag.qdrant.points import stamp_of, stamp_start, whole_stamps
from rag.qdrant.server import Server
from rag.readers.process import Parsers
from rag.shelf import in_language

log = logging.getLogger(__name__)

# Whatever changes what a document becomes (readers, chunking) raises it, and every document is read again.
_VERSION = 2
# So many files are looked up in one request, and documents are written together once they have so many chunks.
_FILES, _CHUNKS = 64, 256
# Files, evenly spread, that tell how many words a chunk has on average.
_SAMPLE = 64


@dataclass(frozen=True)
class Progress:
    """
    How far a load has come.

    Attributes:
        done, files: how many files it is through with, of how many.
        kept: how many of them were there already.
        written: how many documents it has written, and the server has acknowledged.
        chunks: how many chunks these have.
        removed: how many documents it has removed, as their files are gone.
        average: how many words the chunks that it has written have on average; 0 before the first.
        expected: how many the collection was made for.
        skipped: the files left out, with their reasons.
    """

    files: int
    done: int = 0
    kept: int = 0
    written: int = 0
    chunks: int = 0
    removed: int = 0
    average: float = 0.0
    expected: float = 0.0
    skipped: tuple[Skipped, ...] = ()

    @property
    def line(self) -> str:
        """For a terminal, while it goes on."""
        return f"{self.done} of {self.files} files, {self.written} written in {self.chunks} chunks, {self.kept} kept"

    @property
    def summary(self) -> str:
        """For a terminal, at the end; the last sentence is a warning, where there is one."""
        said = f"{self.line}, {self.removed} removed, {len(self.skipped)} left out."
        if self.average and not 0.67 < self.average / self.expected < 1.5:
            said += (
                f" Chunks have {self.average:.0f} words on average, but the collection was made for "
                f"{self.expected:.0f}, which costs precision: load into a new RAG_QDRANT_COLLECTION."
            )
        return said


def load(
    server: Server,
    name: str,
    folder: Path,
    *,
    chunk_words: int,
    language: str | None = None,
    prune: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """
    Put the documents of a folder into a collection, which is made if it is not there.

    A document that is there whole, of the same file by the same rules, is neither read nor written again; so a load
    may be stopped at any time, and another one goes on where it was. Of files with the same bytes the first alone
    is loaded. A file that changed takes the place of what it was. Holds a few hundred chunks in memory at a time,
    and the paths of all files.

    Args:
        server: where the collection is.
        name: the collection.
        folder: where the documents are.
        chunk_words: the size of a chunk, in words.
        language: of all documents, an ISO 639-1 code; None: told by each one's text.
        prune: also remove documents of the collection that are not in the folder.
        progress: is told how far it has come, after every few files.

    Raises:
        DocumentsError: the folder cannot be read, or has nothing in it to read.
        SearchError: the server failed, also when asked again; or the collection is not ours.
    """
    check_folder(folder)
    closed: list[Skipped] = []
    paths = find_files(folder, closed=closed)
    if not paths:
        raise DocumentsError(f"No documents in {folder}. Add some, or set RAG_DOCS_DIR to another folder.")
    parsers = Parsers()
    try:
        reader = _Reader(folder, parsers, chunk_words, language)
        collection = Collection.made(server, name, chunk_words=chunk_words, average=lambda: reader.average_of(paths))
        run = _Run(collection, reader, progress, Progress(len(paths), skipped=tuple(closed)))
        return run.all_of(paths, prune=prune)
    finally:
        parsers.close()


@dataclass
class _Reader:
    folder: Path
    parsers: Parsers
    chunk_words: int
    language: str | None

    def chunks(self, path: Path) -> Sequence[Chunk]:
        """Raises DocumentsError."""
        name = name_of(path, self.folder)
        document = in_language(read_file(path, name=name, parsers=self.parsers), self.language)
        return split(document, max_words=self.chunk_words)

    def digest(self, path: Path) -> bytes:
        """Of a file's bytes, and of whatever else decides what it becomes. Raises OSError."""
        made_by = f"{_VERSION} {self.chunk_words} {self.language} {rules()}"
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "blake2b").digest()
        return hashlib.blake2b(made_by.encode() + content, digest_size=16).digest()

    def average_of(self, paths: Sequence[Path]) -> float:
        """How many words a chunk has on average, in some of the files."""
        lengths: list[int] = []
        for path in paths[:: max(1, len(paths) // _SAMPLE)]:
            try:
                lengths += [len(terms(chunk)) for chunk in self.chunks(path)]
            except DocumentsError:
                continue
            except Exception:
                log.debug("%s tells no length", path, exc_info=True)  # it is read again, and reported then
        return max(1.0, sum(lengths) / max(1, len(lengths)))


@dataclass
class _Run:
    collection: Collection
    reader: _Reader
    tell: Callable[[Progress], None]
    at: Progress
    words: int = 0
    seen: dict[bytes, str] = field(default_factory=dict)  # the first file with these bytes

    def all_of(self, paths: Sequence[Path], *, prune: bool) -> Progress:
        self._count(expected=self.collection.about.average)
        for start in range(0, len(paths), _FILES):
            self._some(paths[start : start + _FILES])
        if prune:
            here = {name_of(path, self.reader.folder) for path in paths}
            gone = [first["document"] for first in self.collection.firsts() if first["document"] not in here]
            self.collection.remove(gone)
            self._count(removed=len(gone))
        if self.at.written or self.at.removed:
            self.collection.mark()
        return self.at

    def _some(self, paths: Sequence[Path]) -> None:
        digests, left_out = self._digests(paths)
        starts = {stamp_start(name, digest): name for name, digest in digests.items()}
        names = [name_of(path, self.reader.folder) for path in paths]
        there = self.collection.stamps(names)
        kept = {stamp for stamp in whole_stamps(there) if stamp.rpartition("-")[0] in starts}
        done = {starts[stamp.rpartition("-")[0]] for stamp in kept}
        stamps = set(kept)
        self._count(kept=len(done), done=len(done) + left_out)
        waiting: dict[str, tuple[str, Sequence[Chunk]]] = {}
        for name, path in zip(names, paths, strict=True):
            if name not in digests or name in done:
                continue
            chunks = self._chunks(path, name)
            if chunks:
                waiting[name] = stamp_of(name, digests[name], len(chunks)), chunks
                stamps.add(waiting[name][0])
            else:
                self._count(done=1)
            if sum(len(some) for _, some in waiting.values()) >= _CHUNKS:
                self._write(waiting)
                waiting = {}
        self._write(waiting)
        if there.keys() - stamps:  # of files that were left out this time, or of a version before
            self.collection.tidy(names, stamps)
        self.tell(self.at)

    def _digests(self, paths: Sequence[Path]) -> tuple[dict[str, bytes], int]:
        # Of the files that are to be there, by name; and how many are not.
        digests: dict[str, bytes] = {}
        for path in paths:
            name = name_of(path, self.reader.folder)
            try:
                digest = self.reader.digest(path)
            except OSError as error:
                self._leave_out(name, f"cannot be opened: {error.strerror or error}")
                continue
            if self.seen.setdefault(digest, name) == name:
                digests[name] = digest
            else:
                self._leave_out(name, f"the same file as {self.seen[digest]}")
        return digests, len(paths) - len(digests)

    def _chunks(self, path: Path, name: str) -> Sequence[Chunk]:
        try:
            chunks = self.reader.chunks(path)
        except DocumentsError as error:
            self._leave_out(name, str(error))
            return ()
        except Exception:
            # One file must not cost the others, whatever is wrong with it or with us.
            log.exception("%r could not be read", name)
            self._leave_out(name, "could not be read; the log says why")
            return ()
        if not chunks:
            self._leave_out(name, "no text to search")
        return chunks

    def _write(self, documents: dict[str, tuple[str, Sequence[Chunk]]]) -> None:
        if not documents:
            return
        self.collection.write(documents)
        written = [chunk for _, chunks in documents.values() for chunk in chunks]
        self.words += sum(len(terms(chunk)) for chunk in written)
        self._count(done=len(documents), written=len(documents), chunks=len(written))
        self.at = replace(self.at, average=self.words / self.at.chunks)
        self.tell(self.at)

    def _leave_out(self, name: str, reason: str) -> None:
        self.at = replace(self.at, skipped=(*self.at.skipped, Skipped(name, reason)))

    def _count(self, **more: float) -> None:
        self.at = replace(self.at, **{key: getattr(self.at, key) + value for key, value in more.items()})

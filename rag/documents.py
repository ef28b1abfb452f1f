"""Documents: files of a folder, or a list given inline."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.errors import DocumentsError

SUFFIXES = {".md", ".markdown", ".txt"}
MAX_BYTES = 20_000_000


@dataclass(frozen=True)
class Document:
    """
    One text that can be cited.

    Attributes:
        name: its path below the docs folder, with forward slashes, or `inline/1` for the first inline text.
        text: the whole text, with `\\n` line ends; formats with a structure of their own arrive as Markdown.
        markdown: whether the text is Markdown; None: as the name's suffix says.
        pages: where each page begins in the text, in characters; empty for what has no pages.
        title: what the document calls itself; empty if it does not say.
    """

    name: str
    text: str
    markdown: bool | None = None
    pages: tuple[int, ...] = ()
    title: str = ""

    @property
    def is_markdown(self) -> bool:
        """Whether `#` starts a heading in it."""
        return self.name.lower().endswith((".md", ".markdown")) if self.markdown is None else self.markdown

    def page_at(self, position: int) -> int | None:
        """The page, from 1, on which a character stands; None for what has no pages."""
        return bisect_right(self.pages, position) or None if self.pages else None


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why, in words for the person who put it there."""

    name: str
    reason: str


@dataclass(frozen=True)
class Reading:
    """What came of reading: the documents, in order of their names, and the files left out."""

    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...] = ()


def read_inline(texts: Sequence[str]) -> Reading:
    """Make a document of each text. Empty ones are left out; none at all is a `DocumentsError`."""
    documents = tuple(Document(f"inline/{number}", text) for number, text in enumerate(texts, start=1) if text.strip())
    if not documents:
        raise DocumentsError("RAG_DOCUMENTS has no text in it. Put some there, or set RAG_DOCS_DIR.")
    return Reading(documents)


def read_folder(folder: Path) -> Reading:
    """
    Read every Markdown and text file of a folder and of the folders below it.

    Hidden files and folders are passed over in silence, and so are other kinds of files that nobody would
    expect to be read (images, archives); a file that looks readable and is not is listed in `skipped`.

    Raises:
        DocumentsError: the folder is missing, is not a folder, cannot be opened, or has nothing to read.
    """
    if not os.path.exists(folder):  # unlike Path.exists, also where the path is too long or its parent is closed
        raise DocumentsError(f"No folder {folder}. Make it, or set RAG_DOCS_DIR to one that exists.")
    if not os.path.isdir(folder):
        raise DocumentsError(f"{folder} is a file, not a folder. Set RAG_DOCS_DIR to the folder it is in.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DocumentsError(f"No permission to open {folder}. Give it, or set RAG_DOCS_DIR to another folder.")
    documents: list[Document] = []
    skipped: list[Skipped] = []
    for path in find_files(folder, closed=skipped):
        name = _printable(path.relative_to(folder).as_posix())
        try:
            documents.append(Document(name, read_file(path)))
        except DocumentsError as error:
            skipped.append(Skipped(name, str(error)))
    if not documents:
        why = f" Left out: {'; '.join(f'{file.name} ({file.reason})' for file in skipped[:5])}." if skipped else ""
        raise DocumentsError(
            f"No readable documents in {folder}.{why} Add Markdown or text files, or set RAG_DOCS_DIR."
        )
    return Reading(tuple(documents), tuple(skipped))


def find_files(folder: Path, *, closed: list[Skipped] | None = None) -> list[Path]:
    """
    The Markdown and text files below a folder, sorted by path. Links that lead out of it are not followed.

    Args:
        folder: where to look.
        closed: takes the folders that could not be opened.
    """
    root = folder.resolve()
    found = []

    def note(error: OSError) -> None:
        if closed is not None:
            name = _printable(Path(str(error.filename)).relative_to(folder).as_posix())
            closed.append(Skipped(f"{name}/", f"cannot be opened: {error.strerror}"))

    for directory, subfolders, names in os.walk(folder, onerror=note):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            path = Path(directory, name)
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if path.is_symlink() and not _stays_within(path, root):
                continue
            found.append(path)
    return sorted(found)


def _stays_within(link: Path, root: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return True  # broken, or pointing at itself: reading it will say so


def _printable(name: str) -> str:
    """A file's name as it can be sent anywhere; one that is not UTF-8 shows � for what cannot be read."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read_file(path: Path) -> str:
    """
    The text of one file.

    Raises:
        DocumentsError: it is not a regular file, too large, empty, binary, not UTF-8, or cannot be opened.
    """
    try:
        if not os.path.isfile(path):
            raise DocumentsError("not a regular file, or a link that leads nowhere")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DocumentsError(f"{size:,} bytes, the limit is {MAX_BYTES:,}: split it")
        raw = path.read_bytes()
    except OSError as error:
        raise DocumentsError(f"cannot be opened: {error.strerror or error}") from error
    if b"\0" in raw[:8192]:
        raise DocumentsError("binary, not text")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentsError(f"not UTF-8 (byte {error.start:,}): save it as UTF-8") from error
    if not text.strip():
        raise DocumentsError("empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")

"""Documents: files of a folder, or a list given inline."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.errors import DocumentsError
from rag.readers import format_of, read
from rag.readers.files import is_within, read_within
from rag.readers.process import Parsers

# Hidden, of a program, or on its way: nobody would miss it among the documents.
_PASSED_OVER = re.compile(
    r"\..*|~\$.*|.*~|#.*#|__pycache__|node_modules|.*\.(?:tmp|part|crdownload|swp)|thumbs\.db|desktop\.ini",
    re.IGNORECASE | re.DOTALL,
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SPELLED_OUT = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")


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
        language: an ISO 639-1 code; empty if it is not known.
    """

    name: str
    text: str
    markdown: bool | None = None
    pages: tuple[int, ...] = ()
    title: str = ""
    language: str = ""

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
    Read every document of a folder and of the folders below it.

    Hidden files and folders are passed over in silence, and so is what programs leave behind (see `find_files`);
    any other file that is not read is listed in `skipped`.

    Raises:
        DocumentsError: the folder is missing, is not a folder, cannot be opened, or has nothing to read.
    """
    check_folder(folder)
    documents: list[Document] = []
    skipped: list[Skipped] = []
    with Parsers() as parsers:
        for path in find_files(folder, closed=skipped):
            name = name_of(path, folder)
            try:
                documents.append(read_file(path, name=name, parsers=parsers))
            except DocumentsError as error:
                skipped.append(Skipped(name, str(error)))
    if not documents:
        why = f" Left out: {'; '.join(f'{file.name} ({file.reason})' for file in skipped[:5])}." if skipped else ""
        raise DocumentsError(
            f"No readable documents in {folder}.{why} Add Markdown or text files, or set RAG_DOCS_DIR."
        )
    return Reading(tuple(documents), tuple(skipped))


def check_folder(folder: Path) -> None:
    """
    Make sure that a folder can be looked into.

    Raises:
        DocumentsError: it is missing, is not a folder, or cannot be opened.
    """
    if not os.path.exists(folder):  # unlike Path.exists, also where the path is too long or its parent is closed
        raise DocumentsError(f"No folder {folder}. Make it, or set RAG_DOCS_DIR to one that exists.")
    if not os.path.isdir(folder):
        raise DocumentsError(f"{folder} is a file, not a folder. Set RAG_DOCS_DIR to the folder it is in.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DocumentsError(f"No permission to open {folder}. Give it, or set RAG_DOCS_DIR to another folder.")
    try:
        os.scandir(folder).close()
    except OSError as error:  # a disk that fails, or a server that does not answer
        reason = error.strerror or error
        raise DocumentsError(f"{folder} cannot be opened: {reason}. Set RAG_DOCS_DIR to another folder.") from error


def read_file(path: Path, *, name: str, parsers: Parsers) -> Document:
    """
    Read one file; one without a structure, such as a log, that grows meanwhile, as it was when it was opened.

    Args:
        path: where it is.
        name: its path below the docs folder, as `name_of` gives it; it also tells the folder not to be left.
        parsers: reads the formats that need a parser.

    Raises:
        DocumentsError: why it is left out, in words.
    """
    chosen = format_of(path.suffix)
    folder = str(path.parents[name.count("/")])
    raw = read_within(str(path), folder, most=chosen.most_bytes, growing=not chosen.risky)
    extract = parsers.read(path.suffix, raw) if chosen.risky else read(path.suffix, raw)
    return Document(name, extract.text, extract.markdown, extract.pages, extract.title)


def find_files(folder: Path, *, closed: list[Skipped] | None = None, folders: list[str] | None = None) -> list[Path]:
    """
    Every file below a folder, sorted by path, whether or not there is a reader for it.

    Hidden files and folders, caches of programs, and what editors and downloads leave while they work (`~$x.docx`,
    `x~`, `x.tmp`, `x.part`) are passed over. A link to a file in the folder is a file; one to a folder in it is
    not followed, as that folder is read where it is; one that leads out of it is not followed either.

    Args:
        folder: where to look.
        closed: takes the folders that could not be opened and the links that lead out.
        folders: takes the paths of the folders that were looked into, `folder` first.
    """
    left_out: list[Skipped] = [] if closed is None else closed
    looked_into: list[str] = [] if folders is None else folders
    root = os.path.realpath(folder)
    found: list[str] = []

    def entries(directory: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as all_entries:
                visible = [entry for entry in all_entries if not _PASSED_OVER.fullmatch(entry.name)]
        except OSError as error:
            reason = f"cannot be opened: {error.strerror or error}"
            left_out.append(Skipped(f"{name_of(Path(directory), folder)}/", reason))
            return iter(())
        looked_into.append(directory)
        return iter(sorted(visible, key=lambda entry: entry.name))

    waiting = [entries(str(folder))]  # one for each folder that we are in
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
        elif _is_link(entry):
            target = _target(entry.path)
            if not is_within(target, root) and target != root:
                left_out.append(Skipped(name_of(Path(entry.path), folder), "a link out of the folder"))
            elif not os.path.isdir(target):
                found.append(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            waiting.append(entries(entry.path))
        else:
            found.append(entry.path)
    return list(map(Path, found))


def is_passed_over(name: str) -> bool:
    """
    Whether a path below the folder, with forward slashes, is one that `find_files` passes over in silence.

    >>> [is_passed_over(name) for name in (".git/config", "home/~$x.docx", "home/x.docx")]
    [True, True, False]
    """
    return any(_PASSED_OVER.fullmatch(part) for part in name.split("/"))


def _target(link: str) -> str:
    try:
        return os.path.realpath(link)
    except OSError:
        return link  # gone meanwhile: reading it will say so


def _is_link(entry: os.DirEntry[str]) -> bool:
    # Windows has a second kind; Python knows it from 3.12 on.
    return entry.is_symlink() or (hasattr(entry, "is_junction") and entry.is_junction())


def name_of(path: Path, folder: Path) -> str:
    """
    A file's name as it can be sent anywhere: its path below the folder, with forward slashes.

    Line ends and the like, and bytes that are not UTF-8, are spelled out (`\\x0a`), so that two files have two names.

    >>> name_of(Path("docs/home/garden.txt"), Path("docs"))
    'home/garden.txt'
    """
    name = path.relative_to(folder).as_posix()
    return _UNPRINTABLE.sub(_spelled_out, name)


def path_of(name: str, folder: Path) -> Path:
    """Where the file with a name is; the way back from `name_of`."""
    path = folder / name
    return path if os.path.lexists(path) else folder / _SPELLED_OUT.sub(_as_it_is, name)


def _spelled_out(letter: re.Match[str]) -> str:
    code = ord(letter[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def _as_it_is(spelled: re.Match[str]) -> str:
    code = int(spelled[1] or spelled[2], 16)
    return chr(code + 0xDC00 if spelled[0][1] == "x" and code >= 0x80 else code)

"""Files that somebody adds to one conversation: safe names, the usual readers, and no more than fits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from rag.documents import Document
from rag.errors import DocumentsError
from rag.readers import format_of, read
from rag.readers.files import read_within
from rag.readers.process import Parsers
from rag.shelf import UPLOADED

#: The most files that one conversation can have of its own.
MOST_FILES = 20
#: The most text of all of them, in characters. They are indexed for each question: 0.3 s for a million characters.
MOST_CHARACTERS = 3_000_000

_UTF_8 = 4  # bytes that a character may have
_LONGEST_NAME = 100
_LONGEST_SUFFIX = 12
_JOINERS = "\u200c\u200d"  # invisible, and part of how some languages spell


def upload_name(given: str, *, taken: Collection[str] = ()) -> str:
    """
    The name under which a file is cited, whatever the browser calls it.

    Of a path only the last part is kept; what cannot be seen or would turn the text around is dropped, a backtick
    becomes an apostrophe, and a long name is cut in the middle. A second file of the same name gets a number.

    >>> upload_name("C:\\\\fakepath\\\\report.pdf"), upload_name("../report.pdf", taken={"upload/report.pdf"})
    ('upload/report.pdf', 'upload/report (2).pdf')
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", given.encode("utf-8", "ignore").decode()))[-1]
    seen = "".join(" " if letter.isspace() else letter for letter in last if letter.isspace() or _is_seen(letter))
    name = " ".join(seen.replace("`", "'").split()).lstrip(". ") or "file"
    suffix = PurePosixPath(name).suffix
    suffix = suffix if len(suffix) <= _LONGEST_SUFFIX else ""
    stem = name.removesuffix(suffix)
    if len(stem) > _LONGEST_NAME:
        stem = f"{stem[: _LONGEST_NAME - 20].rstrip()}…{stem[-19:].lstrip()}"
    candidate, number = f"{UPLOADED}{stem}{suffix}", 1
    while candidate in taken:
        number += 1
        candidate = f"{UPLOADED}{stem} ({number}){suffix}"
    return candidate


def read_upload(path: Path, *, name: str, parsers: Parsers) -> Document:
    """
    Read a file that was sent, and delete it, whether or not it could be read. Takes its time: call it in a thread.

    Args:
        path: where it was put; its own name says nothing.
        name: as `upload_name` gives it.
        parsers: reads the formats that need a parser.

    Raises:
        DocumentsError: why it cannot be read, in words.
    """
    try:
        suffix = PurePosixPath(name).suffix
        chosen = format_of(suffix)
        most = chosen.most_bytes if chosen.risky else min(chosen.most_bytes, _UTF_8 * MOST_CHARACTERS)
        raw = read_within(str(path), str(path.parent), most=most)
        extract = parsers.read(suffix, raw) if chosen.risky else read(suffix, raw)
    finally:
        path.unlink(missing_ok=True)
    return Document(name, extract.text, extract.markdown, extract.pages, extract.title)


def check_room(document: Document, beside: Sequence[Document]) -> None:
    """
    Make sure that a conversation can take another document.

    Raises:
        DocumentsError: it has too many, or too much text.
    """
    if len(beside) >= MOST_FILES:
        raise DocumentsError(f"this conversation has {MOST_FILES} files already: put it into the documents folder")
    total = sum(len(one.text) for one in beside) + len(document.text)
    if total > MOST_CHARACTERS:
        raise DocumentsError(
            f"{total:,} characters in this conversation's files, the limit is {MOST_CHARACTERS:,}: "
            "put it into the documents folder"
        )


def _is_seen(letter: str) -> bool:
    # Controls, marks of direction, private and unassigned characters, halves of characters: no name needs them.
    return letter in _JOINERS or not unicodedata.category(letter).startswith("C")

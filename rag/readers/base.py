"""What every reader of a format returns and obeys."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Protocol

from rag.errors import DocumentsError

TEXT_BYTES = 20_000_000
"""The largest file of a text format: Markdown, HTML, CSV, JSON and the like."""
OFFICE_BYTES = 100_000_000
"""The largest file of a format that also holds pictures: PDF, Word, slides, workbooks, books."""
CHARACTERS = 20_000_000
"""The longest text taken from one file."""
PARTS = 1_000_000
"""The most paragraphs, list items, rows and the like taken from one file: about as many as a workbook has rows."""
UNZIPPED_BYTES = 400_000_000
ZIP_ENTRIES = 10_000
"""The most that a zip file (.docx, .pptx, .xlsx, .epub) may unpack to."""
MEMORY_BYTES = 1_500_000_000
SECONDS = 20.0
"""What the parsing of one file may take, where the system can limit it."""

_LONGEST_TITLE = 300
# One character for one, so that the places of pages stay where they are.
_TIDY = {code: " " for code in [*range(32), 127, 0xFEFF, 0xFFFE, 0xFFFF] if code not in (9, 10)} | {
    0x0B: "\n",
    0x0C: "\n",
    0x0D: "\n",
}
_UNTIDY = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufeff\ufffe\uffff]")


@dataclass(frozen=True)
class Extract:
    """
    The text of a file.

    Attributes:
        text: all of it, with `\\n` line ends.
        markdown: whether it is Markdown.
        pages: where each page begins in the text, in characters; empty for what has no pages.
        title: what the document calls itself; empty if it does not say.
    """

    text: str
    markdown: bool = False
    pages: tuple[int, ...] = ()
    title: str = ""


class Reader(Protocol):
    """Takes the text out of one format. Each module of a format has one, called `read`."""

    def __call__(self, raw: bytes) -> Extract:
        """
        Take out the text.

        Raises:
            DocumentsError: the bytes are not of this format, are encrypted, or hold more than the limits allow.
        """


def tidy(extract: Extract) -> Extract:
    """
    An extract without control characters and halves of characters, which no page and no database takes.

    Raises:
        DocumentsError: the text is empty or too long.
    """
    text = extract.text
    if len(text) > CHARACTERS:
        raise too_long(len(text))
    if not text.strip():
        raise DocumentsError("empty")
    return replace(extract, text=_tidied(text), title=" ".join(_tidied(extract.title).split())[:_LONGEST_TITLE])


def too_long(characters: int) -> DocumentsError:
    """The reason for leaving out a text that is too long."""
    return DocumentsError(f"{characters:,} characters of text, the limit is {CHARACTERS:,}: split it")


def too_many_parts(limit: int) -> DocumentsError:
    """The reason for leaving out a text of too many parts, however short they are."""
    return DocumentsError(f"more than {limit:,} paragraphs, items, rows or sentences: split it")


def too_large(size: int, limit: int) -> DocumentsError:
    """The reason for leaving out a file that is too large."""
    return DocumentsError(f"{size:,} bytes, the limit is {limit:,}: split it")


def _tidied(text: str) -> str:
    if not _UNTIDY.search(text):
        return text
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").translate(_TIDY)

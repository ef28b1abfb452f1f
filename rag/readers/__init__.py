"""Reading formats: which there are, and taking the text out of one. A new format is a module and a line here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from rag.errors import DocumentsError
from rag.readers.base import OFFICE_BYTES, TEXT_BYTES, Extract, Reader, tidy


@dataclass(frozen=True)
class Format:
    """
    How files with one suffix are read.

    Attributes:
        module: where its reader is, below `rag.readers`; imported on first need.
        function: the reader's name there.
        most_bytes: the largest file.
        risky: whether it is parsed by more than a look at the encoding, so that a child process has to do it.
    """

    module: str
    function: str = "read"
    most_bytes: int = TEXT_BYTES
    risky: bool = True


_MARKDOWN = Format("plain", "read_markdown", risky=False)
_TEXT = Format("plain", risky=False)
_WORD = Format("word", most_bytes=OFFICE_BYTES)
_SLIDES = Format("slides", most_bytes=OFFICE_BYTES)
_WORKBOOK = Format("sheets", most_bytes=OFFICE_BYTES)

FORMATS: dict[str, Format] = {
    ".md": _MARKDOWN,
    ".markdown": _MARKDOWN,
    ".txt": _TEXT,
    ".log": _TEXT,
    ".html": Format("web"),
    ".htm": Format("web"),
    ".xhtml": Format("web"),
    ".rst": Format("rst"),
    ".pdf": Format("pdf", most_bytes=OFFICE_BYTES),
    ".docx": _WORD,
    ".docm": _WORD,
    ".pptx": _SLIDES,
    ".pptm": _SLIDES,
    ".xlsx": _WORKBOOK,
    ".xlsm": _WORKBOOK,
    ".csv": Format("delimited"),
    ".tsv": Format("delimited"),
    ".json": Format("records"),
    ".jsonl": Format("records", "read_lines"),
    ".epub": Format("ebook", most_bytes=OFFICE_BYTES),
}

# What people may take for readable, and what to make of it.
_REMEDIES = {
    ".doc": ".docx", ".dot": ".docx", ".odt": ".docx", ".rtf": ".docx", ".pages": ".docx",
    ".ppt": ".pptx", ".odp": ".pptx", ".key": ".pptx", ".xls": ".xlsx", ".ods": ".xlsx", ".numbers": ".xlsx",
}  # fmt: skip

_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_OFFICE = "EncryptedPackage".encode("utf-16-le")
_SIGNATURES = [
    (b"%PDF-", "a PDF", {"pdf"}),
    (b"PK\x03\x04", "a zip or office file", {"word", "slides", "sheets", "ebook"}),
    (b"\x89PNG\r\n", "a picture", set()),
    (b"\xff\xd8\xff", "a picture", set()),
    (b"GIF8", "a picture", set()),
    (b"\x1f\x8b", "a compressed file", set()),
]  # fmt: skip


def format_of(suffix: str) -> Format:
    """
    How to read files with a suffix.

    Raises:
        DocumentsError: nobody here can.

    >>> format_of(".PDF").module
    'pdf'
    """
    suffix = suffix.lower()
    if suffix in FORMATS:
        return FORMATS[suffix]
    if not suffix:
        raise DocumentsError("no reader for names without an ending: add .txt or .md if it is text")
    remedy = f": save it as {_REMEDIES[suffix]}" if suffix in _REMEDIES else ""
    raise DocumentsError(f"no reader for {suffix}{remedy}")


def read(suffix: str, raw: bytes) -> Extract:
    """
    Take the text out of a file's bytes, in this process.

    Raises:
        DocumentsError: they are not what the suffix says, damaged, encrypted, too much, or without text.
    """
    chosen = format_of(suffix)
    if not raw:
        raise DocumentsError("empty")
    _check_signature(raw, chosen)
    reader: Reader = getattr(importlib.import_module(f"rag.readers.{chosen.module}"), chosen.function)
    return tidy(reader(raw))


def _check_signature(raw: bytes, chosen: Format) -> None:
    """A file under a wrong name is not guessed at: the reason names what it looks like."""
    if raw.startswith(_OLD_OFFICE):
        if _ENCRYPTED_OFFICE in raw:
            raise DocumentsError("encrypted: save a copy without a password")
        raise DocumentsError("an old Office file inside: save it as .docx, .pptx or .xlsx")
    for signature, kind, modules in _SIGNATURES:
        if raw.startswith(signature) and chosen.module not in modules:
            raise DocumentsError(f"{kind} inside: give it the ending that it should have")

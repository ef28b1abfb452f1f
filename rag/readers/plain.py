"""Plain text and Markdown: only the encoding is to be found out."""

from __future__ import annotations

from rag.readers.base import Extract
from rag.readers.encodings import decode


def read(raw: bytes) -> Extract:
    """Plain text, a log."""
    return Extract(decode(raw))


def read_markdown(raw: bytes) -> Extract:
    """Markdown, as it stands."""
    return Extract(decode(raw), markdown=True)

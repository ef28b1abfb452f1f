"""Word documents (.docx, .docm): mammoth makes HTML of them; macros and linked files are never touched."""

from __future__ import annotations

import io
import re
from typing import Any

from rag.errors import DocumentsError
from rag.readers.base import Extract
from rag.readers.web import from_html
from rag.readers.zipped import Zip, core_title

_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
p[style-name='Code'] => pre:separator('\\n')
p[style-name='HTML Preformatted'] => pre:separator('\\n')
comment-reference =>
"""
_DOCUMENT = re.compile(r"word/document\d*\.xml")
_MOST_TAGS = 1_500_000  # mammoth reads about 70,000 a second, so more would end at the time limit anyway
_BACK_REFERENCE = re.compile(r'<a href="#(?:foot|end)note-ref-[^"]*">[^<]*</a>')


def read(raw: bytes) -> Extract:
    """A Word document: headings, lists, tables, footnotes."""
    import mammoth

    package = Zip(raw, kind="a Word document")
    package.require("word/")
    package.refuse_entities(ending=".xml")
    tags = sum(package.read(name).count(b"<") for name in package.names if _DOCUMENT.fullmatch(name))
    if tags > _MOST_TAGS:
        raise DocumentsError(f"{tags:,} XML tags, the limit is {_MOST_TAGS:,}: split it")
    try:
        result = mammoth.convert_to_html(
            io.BytesIO(raw), style_map=_STYLES, convert_image=_without_images, external_file_access=False
        )
    except (MemoryError, RecursionError, DocumentsError):
        raise
    except Exception as error:  # mammoth passes on whatever its XML parser and its own walks raise
        raise DocumentsError("damaged: not readable as a Word document") from error
    return from_html(_BACK_REFERENCE.sub("", result.value), title=core_title(package))


def _without_images(image: Any) -> list[Any]:
    return []

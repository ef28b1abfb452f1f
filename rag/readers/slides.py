"""Slides (.pptx, .pptm): one page each, its title as heading, its notes behind it; macros are never touched."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from rag.errors import DocumentsError
from rag.readers.base import Extract
from rag.readers.markdown import Markdown
from rag.readers.zipped import Zip, core_title


def read(raw: bytes) -> Extract:
    """A presentation."""
    import pptx

    package = Zip(raw, kind="a presentation")
    package.require("ppt/")
    package.refuse_entities(ending=".xml")
    try:
        slides = pptx.Presentation(io.BytesIO(raw)).slides
        page = Markdown()
        for slide in slides:
            page.page()
            _write(page, slide)
    except (MemoryError, RecursionError, DocumentsError):
        raise
    except Exception as error:  # python-pptx passes on whatever a part that is not as expected raises
        raise DocumentsError("damaged: not readable as a presentation") from error
    return page.extract(title=core_title(package))


def _write(page: Markdown, slide: Any) -> None:
    title = slide.shapes.title
    if title is not None:
        page.heading(1, title.text_frame.text)
    for shape in _flat(slide.shapes):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if getattr(shape, "has_table", False) and shape.has_table:
            page.table([[cell.text for cell in row.cells] for row in shape.table.rows])
        elif getattr(shape, "has_text_frame", False) and shape.has_text_frame:
            _write_text(page, shape)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        if notes:
            page.paragraph(f"Notes: {notes}")


def _write_text(page: Markdown, shape: Any) -> None:
    paragraphs = [one for one in shape.text_frame.paragraphs if one.text.strip()]
    # The body of a slide is a list, with or without bullets to see; a box with one paragraph is a sentence.
    is_list = len(paragraphs) > 1 and shape.is_placeholder
    for one in paragraphs:
        if is_list:
            page.item(one.text, depth=one.level)
        else:
            page.paragraph(one.text)


def _flat(shapes: Iterable[Any]) -> Iterator[Any]:
    """The shapes of a slide with those inside groups, in order."""
    waiting = list(shapes)[::-1]
    while waiting:
        shape = waiting.pop()
        if hasattr(shape, "shapes"):
            waiting.extend(list(shape.shapes)[::-1])
        else:
            yield shape

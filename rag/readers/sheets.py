"""Workbooks (.xlsx, .xlsm): each row becomes a list item under the name of its sheet; macros are never touched."""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from rag.errors import DocumentsError
from rag.readers.base import Extract
from rag.readers.markdown import Markdown
from rag.readers.rows import write_rows
from rag.readers.zipped import Zip, core_title

_MERGED = re.compile(rb"""<(?:\w+:)?mergeCell\b[^>]*\bref=["']([A-Z]{1,3})(\d{1,7}):[A-Z]{1,3}(\d{1,7})["']""")
_MOST_MERGED = 10_000
_EMPTY_ROWS = 100_000  # in succession; nobody writes below that


def read(raw: bytes) -> Extract:
    """A workbook: the values that its formulas had when it was saved."""
    import openpyxl

    package = Zip(raw, kind="a workbook")
    package.require("xl/")
    package.refuse_entities(ending=".xml")
    page = Markdown()
    try:
        book = openpyxl.load_workbook(io.BytesIO(raw), read_only=True, data_only=True, keep_links=False)
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # they may claim 17 billion cells
            rows = _rows(sheet, package)
            first = next(rows, None)
            if first is not None:
                page.heading(1, sheet.title)
                write_rows(page, chain([first], rows))
    except (MemoryError, RecursionError, DocumentsError):
        raise
    except Exception as error:  # openpyxl passes on whatever a part that is not as expected raises
        raise DocumentsError("damaged: not readable as a workbook") from error
    return page.extract(title=core_title(package))


def _rows(sheet: Any, package: Zip) -> Iterator[list[str]]:
    """The rows with something in them."""
    merged = _merged(package.read(sheet._worksheet_path.lstrip("/")))
    reaching: dict[int, tuple[int, str]] = {}  # by column: the last row of the merged cell, and what is in it
    empty = 0
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = [_shown(cell) for cell in row]
        for column, last_row in merged.get(number, ()):
            reaching[column] = (last_row, cells[column] if column < len(cells) else "")
        empty = 0 if any(cells) else empty + 1
        if empty > _EMPTY_ROWS:
            return
        if not empty:
            for column, (last_row, text) in reaching.items():
                if number <= last_row and column < len(cells) and not cells[column]:
                    cells[column] = text
            yield cells


def _merged(xml: bytes) -> dict[int, list[tuple[int, int]]]:
    """
    The cells that reach down over several rows, by their first row: column, last row.

    A row is read on its own, so what is written beside several rows belongs to each of them. openpyxl does not
    tell while it streams.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    for match in islice(_MERGED.finditer(xml), _MOST_MERGED):
        top, bottom = int(match[2]), int(match[3])
        if bottom > top:
            found.setdefault(top, []).append((_column(match[1]), bottom))
    return found


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number - 1


def _shown(cell: Any) -> str:
    """A value as the sheet shows it, as far as that can be told without its whole formatting."""
    value = cell.value
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case float() if "%" in (cell.number_format or ""):
            return f"{value * 100:.10g}%"
        case float():
            return f"{value:.15g}"
        case datetime.datetime():
            return value.isoformat(" ").removesuffix(" 00:00:00")
        case _:
            return str(value)

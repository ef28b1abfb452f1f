"""Rows of a table as sentences of their own: each carries the header with it, wherever the text is cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from rag.readers.markdown import Markdown

_NUMBER = re.compile(r"[-+]?[\d.,:/ %€$£-]*\d[\d.,:/ %€$£-]*")
_HEADER_WITHIN = 20  # rows; what stands above the header is a caption


def write_rows(page: Markdown, rows: Iterable[Sequence[str]]) -> None:
    """
    Write each row as a list item `Name: Router; Port: 8000`. Empty rows and cells are left out.

    The header is the first row of two or more words of which none is a number; rows above it are paragraphs.
    Without one, a row is `Router; 8000`.

    >>> page = Markdown()
    >>> write_rows(page, [["Name", "Port"], ["Router", "8000"]])
    >>> page.text
    '- Name: Router; Port: 8000'
    """
    filled = ([" ".join(cell.split()) for cell in row] for row in rows)
    remaining: Iterator[list[str]] = (row for row in filled if any(row))
    first = list(islice(remaining, _HEADER_WITHIN))
    at = next((number for number, row in enumerate(first[:-1]) if _is_header(row)), None)
    header = first[at] if at is not None else []
    for row in first[:at] if at else []:
        page.paragraph("; ".join(cell for cell in row if cell))
    for row in chain(first[at + 1 :] if at is not None else first, remaining):
        page.item("; ".join(_named(header, number, cell) for number, cell in enumerate(row) if cell))


def _is_header(row: Sequence[str]) -> bool:
    cells = [cell for cell in row if cell]
    return len(cells) > 1 and len(set(cells)) == len(cells) and not any(_NUMBER.fullmatch(cell) for cell in cells)


def _named(header: Sequence[str], number: int, cell: str) -> str:
    name = header[number].rstrip(":") if number < len(header) else ""
    return f"{name}: {cell}" if name else cell

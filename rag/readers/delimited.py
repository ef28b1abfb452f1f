"""Tables in text files (.csv, .tsv): the delimiter is found out, each row becomes a list item."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

from rag.readers.base import CHARACTERS, Extract
from rag.readers.encodings import decode
from rag.readers.markdown import Markdown
from rag.readers.rows import write_rows

_DELIMITERS = ",;\t|"
_SAMPLE = 65_536
_SAMPLE_ROWS = 50


def read(raw: bytes) -> Extract:
    """A table with commas, semicolons, tabs or bars between its cells."""
    text = decode(raw).replace("\0", " ")
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:
        delimiter, text = first.strip()[4], rest  # how Excel is told
    else:
        delimiter = _delimiter(text[:_SAMPLE])
    page = Markdown()
    write_rows(page, _rows(text, delimiter))
    return page.extract()


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(CHARACTERS + 1)
    # One quotation mark that is never closed would swallow the rest of the file.
    source = io.StringIO(text, newline="")
    if _has_open_quote(text, delimiter):
        return csv.reader(source, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(source, delimiter=delimiter)


def _has_open_quote(text: str, delimiter: str) -> bool:
    if '"' not in text:
        return False
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        return "end of data" in str(error)
    return False


def _delimiter(sample: str) -> str:
    """The one that cuts the most rows into the same number of cells, of two or more."""

    def agreement(delimiter: str) -> tuple[int, int]:
        widths: Counter[int] = Counter()
        for number, row in enumerate(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)):
            if number == _SAMPLE_ROWS:
                break
            widths[len(row)] += 1
        del widths[0], widths[1]
        width, rows = widths.most_common(1)[0] if widths else (0, 0)
        return rows, width

    csv.field_size_limit(CHARACTERS + 1)
    return max(_DELIMITERS, key=agreement)

"""
HTML, written as Markdown. Word documents, books and reStructuredText come this way as well.

libxml2 calls a method for each tag and builds no tree, so depth costs nothing: a tree-building HTML5 parser took
92 s for 200,000 nested `<div>`, this one 0.1 s.
"""

from __future__ import annotations

import re

from rag.errors import DocumentsError
from rag.readers.base import Extract
from rag.readers.encodings import decode_declared
from rag.readers.markdown import Markdown

# Their content is no text of the page.
_UNSEEN = frozenset(
    "script style template noscript nav svg math iframe object canvas audio video select button textarea".split()
)
_BLOCKS = frozenset(
    "address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure footer form "
    "header hgroup hr html legend li main menu ol p section summary table tbody tfoot thead tr ul caption".split()
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_EMPTY_IN_HTML = "area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr"
# XHTML may close any element at once; HTML would read the rest of the page into it.
_CLOSED_AT_ONCE = re.compile(rf"<(?!(?:{_EMPTY_IN_HTML})\b)([A-Za-z][\w:.-]*)((?:\s[^<>]*)?)/>")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_ENTITIES = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<!DOCTYPE[^\[>]*\[.*?\]\s*>", re.DOTALL | re.IGNORECASE)
_INVISIBLE = re.compile("[\u00ad\u200b\u2060]")
_BREAK = "\u2028"  # Unicode's own sign for it: line ends of the source are only spaces
_MOST_SPANNED = 50
_LONGEST_CELL = 1500


def read(raw: bytes) -> Extract:
    """HTML or XHTML."""
    return from_html(decode_declared(raw))


def from_html(text: str, *, into: Markdown | None = None, title: str = "") -> Extract:
    """
    The text of a page, or of a part of one.

    Scripts, styles and navigation are left out; links and emphasis leave their text.

    Args:
        text: HTML or XHTML.
        into: where to write it; None: a text of its own.
        title: what to call it where the page does not say.

    >>> from_html("<title>Router</title><h1>Ports</h1><p>It is <b>8000</b>.<ul><li>one<li>two</ul>").text
    '# Ports\\n\\nIt is 8000.\\n\\n- one\\n- two'
    """
    from lxml import etree

    page = _Page(into or Markdown())
    entities = _ENTITIES.match(text[:65_536])
    text = text[entities.end() :] if entities else text
    if "/>" in text[:1_000_000] or "<![CDATA[" in text:
        text = _CLOSED_AT_ONCE.sub(r"<\1\2></\1>", text)
        text = _CDATA.sub(lambda found: found[1].replace("&", "&amp;").replace("<", "&lt;"), text)
    parser = etree.HTMLParser(target=page, huge_tree=True, encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        parser.feed(text.encode("utf-8", "replace"))
        parser.close()
    except etree.LxmlError as error:
        raise DocumentsError("damaged: not readable as HTML") from error
    return page.markdown.extract(title=page.title or title)


class _Table:
    """The rows of a table while it is read."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.cell: list[str] | None = None  # the blocks of the open cell
        self.is_layout = False
        self._spans: dict[int, tuple[int, str]] = {}  # by column: how many rows more, and with which text
        self._rowspan = self._colspan = 1

    def start_row(self) -> None:
        self.end_cell()
        self.rows.append([])

    def start_cell(self, rowspan: str | None, colspan: str | None) -> None:
        self.end_cell()
        if not self.rows:
            self.rows.append([])
        self._rowspan, self._colspan = _count(rowspan), _count(colspan)
        self._fill()
        self.cell = []

    def end_cell(self) -> None:
        if self.cell is None:
            return
        text = " ".join(self.cell)
        self.is_layout = self.is_layout or len(text) > _LONGEST_CELL
        row = self.rows[-1]
        for number in range(self._colspan):
            shown = "" if number else text
            if self._rowspan > 1:
                self._spans[len(row)] = (self._rowspan - 1, shown)
            row.append(shown)
        self.cell = None

    def _fill(self) -> None:
        """Put what reaches down from rows above into this one: a row is read on its own."""
        row = self.rows[-1]
        while len(row) in self._spans:
            left, text = self._spans.pop(len(row))
            if left > 1:
                self._spans[len(row)] = (left - 1, text)
            row.append(text)


class _Page:
    """Hears of each tag and text in turn, and writes Markdown."""

    def __init__(self, markdown: Markdown) -> None:
        self.markdown = markdown
        self.title = ""
        self._text: list[str] = []
        self._unseen = ""  # the element whose content is passed over, and how deep we are in others of its name
        self._unseen_depth = 0
        self._in_title = False
        self._heading = 0
        self._lists: list[list[int]] = []  # for each open list: the next number, or 0 for bullets
        self._item: str | None = None  # the mark of an item that has no text yet
        self._pre = 0
        self._table: _Table | None = None
        self._table_depth = 0
        self._in_term = False
        self._term = ""  # of a list of definitions, until its definition comes

    # What lxml calls.

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        tag = _local(tag)
        if self._unseen:
            self._unseen_depth += tag == self._unseen
        elif tag in _UNSEEN or "hidden" in attributes or attributes.get("role") == "navigation":
            self._flush()
            self._unseen, self._unseen_depth = tag, 1
        elif tag == "title":
            self._in_title = not self.title
        elif tag == "br":
            self._text.append(_BREAK)
        elif tag == "pre":
            self._flush()
            self._pre += 1
        elif tag in _HEADINGS:
            self._flush()
            self._heading = _HEADINGS[tag]
            if self._table:
                self._table.is_layout = True
        elif tag in ("td", "th", "tr", "table", "caption"):
            self._start_table_part(tag, attributes)
        elif tag in _BLOCKS:
            self._flush()
            self._start_block(tag)

    def end(self, tag: str) -> None:
        """An element ends."""
        tag = _local(tag)
        if self._unseen:
            self._unseen_depth -= tag == self._unseen
            if self._unseen_depth == 0:
                self._unseen = ""
        elif tag == "title":
            self._in_title = False
        elif tag == "pre":
            self._flush()
            self._pre = max(self._pre - 1, 0)
        elif tag in _HEADINGS:
            self._flush()
            self._heading = 0
        elif tag in ("td", "th", "tr", "table"):
            self._end_table_part(tag)
        elif tag in _BLOCKS:
            self._flush()
            if tag in ("ul", "ol", "menu", "dl") and self._lists:
                self._lists.pop()
                self._end_term()
            if tag in ("li", "dd"):
                self._item = None

    def data(self, text: str) -> None:
        """Text, in pieces as the parser has them."""
        if self._unseen:
            return
        if self._in_title:
            self.title += text
        else:
            self._text.append(text)

    def close(self) -> None:
        """The page ends."""
        self._flush()
        while self._table:
            self._end_table_part("table")
        self._end_term()

    # Blocks.

    def _start_block(self, tag: str) -> None:
        if tag in ("ul", "menu", "dl"):
            self._lists.append([0])
        elif tag == "ol":
            self._lists.append([1])
        elif tag == "li":
            if not self._lists:
                self._lists.append([0])
            number = self._lists[-1][0]
            self._item = f"{number}." if number else "-"
            self._lists[-1][0] += bool(number)
        elif tag in ("dt", "dd"):
            self._in_term = tag == "dt"
            self._item = None if self._in_term else "-"

    def _end_term(self) -> None:
        self._in_term = False
        if self._term:  # one that nothing was said about
            self.markdown.paragraph(self._term)
            self._term = ""

    def _flush(self) -> None:
        """Write the text collected so far as the block that it is."""
        if not self._text:
            return
        raw, self._text = "".join(self._text), []
        text = _INVISIBLE.sub("", raw)
        if self._pre and not self._table:
            self.markdown.code(text.replace(_BREAK, "\n"))
        else:
            lines = (" ".join(line.split()) for line in text.split(_BREAK))
            self._write("\n".join(line for line in lines if line))

    def _write(self, text: str) -> None:
        if not text:
            return
        if self._table and self._table.cell is not None:
            self._table.cell.append(text)
        elif self._table and self._table.is_layout:
            self._table.rows.append([text])
        elif self._heading:
            self.markdown.heading(self._heading, text.removesuffix("¶"))  # a link to the heading itself
        elif self._in_term:
            self._term = f"{self._term}, {text}" if self._term else text
        elif self._item is not None:
            named = f"{self._term.rstrip(':')}: {text}" if self._term else text
            self.markdown.item(named, depth=len(self._lists) - 1, mark=self._item)
            self._item, self._term = None, ""
        else:
            self.markdown.paragraph(text)

    # Tables.

    def _start_table_part(self, tag: str, attributes: dict[str, str]) -> None:
        self._flush()
        if tag == "table":
            self._table_depth += 1
            if self._table_depth == 1:
                self._table = _Table()
            elif self._table:
                self._table.is_layout = True
        elif self._table is None or tag == "caption":
            return
        elif tag == "tr":
            self._table.start_row()
        else:
            self._table.start_cell(attributes.get("rowspan"), attributes.get("colspan"))

    def _end_table_part(self, tag: str) -> None:
        self._flush()
        if self._table is None:
            return
        self._table.end_cell()
        if tag != "table":
            return
        self._table_depth -= 1
        if self._table_depth:
            return
        table, self._table = self._table, None
        if table.is_layout or max(map(len, table.rows), default=0) < 2:
            for row in table.rows:
                for cell in row:
                    self.markdown.paragraph(cell)
        else:
            self.markdown.table(table.rows)


def _local(tag: str) -> str:
    return tag.rpartition(":")[2].lower()


def _count(span: str | None) -> int:
    return min(int(span), _MOST_SPANNED) if span and span.isascii() and span.isdigit() and int(span) else 1

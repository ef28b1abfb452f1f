"""The blocks of a text: headings, paragraphs, list items, table rows, code. One walk over its lines finds them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rag.inline import ITEM, QUOTE, plain

_HEADING = re.compile(r"#{1,6}(?=[ \t]|$)")
_FENCE = re.compile(r"(`{3,}+)[^`]*$|(~{3,}+)")
_REFERENCE = re.compile(
    r"\[(?!\^)[^\[\]]++\]:[ \t]*+(?:<[^<>]*+>|[^\s<]\S*+)(?:[ \t]++(?:\"[^\"]*+\"|'[^']*+'|\([^()]*+\)))?[ \t]*+$"
)
_FOOTNOTE = re.compile(r"\[\^[^\[\]\s]++\]:")
_DELIMITER = re.compile(r"\|?+[ \t]*+:?+-++:?+[ \t]*+(?:\|[ \t]*+:?+-++:?+[ \t]*+)*+\|?+$")
_FRONT_MATTER_END = re.compile(r"(?m)^(?:---|\.\.\.)[ \t]*$")
_FRONT_MATTER_KEY = re.compile(r"\s*+(?:#[^\n]*+\s++)*+[\w.\"'-]++[ \t]*+:(?:\s|$)")
_FRONT_MATTER_TITLE = re.compile(r"(?mi)^title[ \t]*+:[ \t]*+(\"[^\"\n]++\"|'[^'\n]++'|[^\s>|\"'][^\n]*+)")

# A line that begins otherwise goes on with the paragraph above it.
_SIGNS = frozenset("#>`~-*+=_|<[:0123456789•‣◦▪●○■·")
# What is longer is no heading and no row of column names, whatever its marks say: both are copied to what is below.
_LONGEST_HEADING = 300
_DEEPEST_LIST = 20
# So many characters are cut into lines at once, and so many blocks kept: neither grows with the text.
_CUT_AT_ONCE = 16_384
_KEPT_AT_MOST = 1_000


class Block(NamedTuple):
    """
    What is never joined to its neighbour in a sentence. It consists of whole lines.

    Attributes:
        start, end: its character span: from the start of its first line, without whitespace at its end.
        kind: "text" (a paragraph), "item", "row", "code" or "heading".
        depth: of a heading its level, 1 to 6; of anything else the number of list items that it is in (an item
            is in itself).
        header: of a table row the header row of its table; empty for that row itself.
    """

    start: int
    end: int
    kind: str
    depth: int = 0
    header: str = ""


def blocks(text: str, *, markdown: bool = True, opening: str = "") -> list[Block]:
    """
    The blocks of a text in order, in time linear in its length.

    Headings are not among them, unless there is nothing else. Front matter, comments, thematic breaks and link
    reference definitions are no blocks.

    Args:
        text: a whole text, or a chunk of one.
        markdown: whether it is Markdown; plain text has paragraphs, items and rows only.
        opening: what a chunk begins inside (`Chunk.opening`), without which half a code block would be read as
            headings, and a row would not know its columns.

    >>> [(block.kind, block.header) for block in blocks("| 8000 | the chat |", opening="| Port | For |\\n|---|---|\\n")]
    [('row', '| Port | For |')]
    """
    found = scan(opening + text, markdown=markdown)
    if skipped := len(opening):
        found = [
            Block(max(block.start - skipped, 0), block.end - skipped, block.kind, block.depth, block.header)
            for block in found
            if block.end > skipped
        ]
    return [block for block in found if block.kind != "heading"] or found


def scan(text: str, *, markdown: bool = True) -> list[Block]:
    """The blocks of a whole text in order, headings among them. The title of its front matter is the first one."""
    return list(walk(text, markdown=markdown))


def walk(text: str, *, markdown: bool = True) -> Iterator[Block]:
    """What `scan` returns, one after the other: a text of a million blocks needs no more memory than one of a few."""
    scanner = _Scanner(text, markdown)
    found = scanner.found
    position = 0
    for line in _lines(text):
        start, position = position, position + len(line)
        if position <= scanner.skip_to:
            continue
        if start < scanner.skip_to:
            start = scanner.skip_to
            line = text[start:position]
        scanner.take(start, line.rstrip())
        if len(found) > _KEPT_AT_MOST:
            yield from found[:-1]
            del found[:-1]  # the last one may turn out to be the header row of a table
    scanner.close()
    yield from found


def _lines(text: str) -> Iterator[str]:
    """The lines of a text, each with its end."""
    start = 0
    while start < len(text):
        cut = text.find("\n", start + _CUT_AT_ONCE) + 1 or len(text)
        yield from text[start:cut].splitlines(keepends=True)
        start = cut


def title_of(text: str, heading: Block) -> str:
    """
    What a heading says.

    >>> title_of("Ports *here*\\n====", Block(0, 17, "heading", 1))
    'Ports here'
    """
    lines = text[heading.start : heading.end].strip().splitlines()
    first = lines[0]
    mark = _HEADING.match(first)
    if mark:
        title = first[mark.end() :].strip()
        bare = title.rstrip("#")
        return plain(bare if not bare or bare[-1] in " \t" else title)
    if len(lines) > 1:  # the last line only underlines it
        del lines[-1]
    return plain("\n".join(lines))


class _Scanner:
    """Where the walk is: the block that is open, and what it stands in."""

    def __init__(self, text: str, markdown: bool) -> None:
        self.found: list[Block] = []
        self.skip_to = 0  # what lies before it is front matter or a comment
        self._text = text
        self._markdown = markdown
        self._start = -1  # of the open block; -1: none is open
        self._end = -1
        self._kind = "text"
        self._depth = 0
        self._last_line = -1  # where the last line of the open block starts
        self._end_before = -1  # where the line before that one ends
        self._quoted = False
        self._fence = ""
        self._margin = 0  # of indented code
        self._columns: list[int] = []  # where the content of each list item begins that we are in
        self._header: str | None = None  # of the table that we are in; empty if its rows have none
        self._last_comment = text.rfind("-->") if markdown else -1
        if markdown and text.startswith("---"):
            self._read_front_matter()

    def take(self, start: int, line: str) -> None:
        """Look at the next line, which has no whitespace at its end."""
        content = line.lstrip()
        if self._fence and self._goes_on_in_fence(start + len(line), content):
            return
        if not content:
            if self._kind != "code":
                self.close()
            self._header = None
        elif self._start >= 0 and self._kind != "code" and content[0] not in _SIGNS:
            self._extend(start, start + len(line))
        else:
            self._begin(start, line, content)

    def close(self) -> None:
        """End the open block, if there is one."""
        if self._start >= 0:
            self.found.append(Block(self._start, self._end, self._kind, self._depth))
            self._start = -1
        self._kind, self._fence = "text", ""

    def _open(self, start: int, end: int, kind: str, depth: int, quoted: bool) -> None:
        if self._start >= 0:
            self.close()
        del self._columns[depth:]
        self._start, self._end, self._kind, self._depth, self._quoted = start, end, kind, depth, quoted
        self._last_line = start

    def _extend(self, start: int, end: int) -> None:
        self._end_before, self._last_line, self._end = self._end, start, end

    def _begin(self, start: int, line: str, content: str) -> None:
        end = start + len(line)
        indent = _indent(line, content)
        depth = len(self._columns)
        while depth and self._columns[depth - 1] > indent:
            depth -= 1
        if self._kind == "code":
            if indent - self._margin >= 4:
                self._end = end
                return
            self.close()
        margin = self._columns[depth - 1] if depth else 0
        if self._markdown and indent - margin >= 4 and not (self._kind == "item" and ITEM.match(content)):
            if self._start >= 0:
                self._extend(start, end)
            else:
                self._open(start, end, "code", depth, False)
                self._margin = margin
            return
        quoted = self._markdown and content[0] == ">"
        if quoted:
            content = QUOTE.sub("", content, count=1)
            if not self._quoted or not content:
                self.close()
            if not content:
                return
        if self._is_row(start, end, content, depth):
            return
        self._header = None
        if self._markdown and self._is_marked(start, end, content, depth, quoted):
            return
        if self._is_item(start, end, content, depth, quoted, indent):
            return
        if self._start >= 0 and (self._quoted or not quoted):
            self._extend(start, end)
        else:
            self._open(start, end, "text", depth, quoted)

    def _is_row(self, start: int, end: int, content: str, depth: int) -> bool:
        if "|" not in content:
            return False
        header = self._header
        if not header and content[0] in "|:-" and _DELIMITER.match(content) and (names := self._names_above()):
            header = names if len(names) <= _LONGEST_HEADING else ""
        elif not header and not (content[0] == content[-1] == "|" and len(content) > 1):
            return False
        self.close()
        del self._columns[depth:]
        self._header = header or ""
        self.found.append(Block(start, end, "row", depth, self._header))
        return True

    def _names_above(self) -> str:
        """The header row, of which a line of dashes tells only now that it is one; empty if it is none."""
        if self._header is not None:
            start, end = self.found[-1].start, self.found[-1].end
        elif self._start >= 0 and self._kind == "text" and "|" in self._text[self._last_line : self._end]:
            start, end = self._last_line, self._end
            depth = self._depth
            self._start, self._end = (-1, -1) if start == self._start else (self._start, self._end_before)
            self.close()
            self.found.append(Block(start, end, "row", depth))
        else:
            return ""
        return QUOTE.sub("", self._text[start:end]).strip()

    def _is_marked(self, start: int, end: int, content: str, depth: int, quoted: bool) -> bool:
        """Whether the line is a mark of Markdown's own: a heading, a fence, a comment, a break, a definition."""
        sign = content[0]
        paragraph = self._start >= 0
        if sign == "#" and (mark := _HEADING.match(content)):
            nested = depth or quoted or len(content) > _LONGEST_HEADING
            self._open(start, end, "text" if nested else "heading", depth if nested else mark.end(), quoted)
            if not nested:
                self._columns.clear()
            self.close()
            return True
        if sign in "`~" and (fence := _FENCE.match(content)):
            self._open(start, end, "code", depth, quoted)
            self._fence = fence[1] or fence[2]
            return True
        if sign in "=-" and paragraph and self._kind == "text" and not content.strip(sign):
            underlined = not (depth or quoted or self._depth or self._quoted)
            if underlined and self._end - self._start <= _LONGEST_HEADING:
                self._end, self._kind, self._depth = end, "heading", 1 if sign == "=" else 2
                self.close()
                return True
        if sign in "-*_" and not content.strip(f"{sign} \t") and content.count(sign) > 2:
            self.close()
            return True
        if sign == "[" and not paragraph and _REFERENCE.match(content):
            return True
        if sign == "[" and _FOOTNOTE.match(content):
            self._open(start, end, "text", depth, quoted)
            return True
        if sign == "<" and not quoted and content.startswith("<!--"):
            return self._skip_comments(end - len(content), end)
        return False

    def _is_item(self, start: int, end: int, content: str, depth: int, quoted: bool, indent: int) -> bool:
        item = ITEM.match(content)
        if not item:
            return False
        mark, rest = item[0].rstrip(), content[item.end() :]
        interrupts = self._start >= 0 and self._kind == "text" and not self._depth and not depth
        if interrupts and (not rest or (mark[0].isdigit() and mark[:-1] != "1")):
            return False  # 'It was built in' and on the next line '1889. Then …'
        del self._columns[depth:]
        self._open(start, end, "item", depth + 1, quoted)
        if not quoted and depth < _DEEPEST_LIST:
            gap = item.end() - len(mark)
            self._columns.append(indent + len(mark) + (gap if rest and gap <= 4 else 1))
        if self._markdown and (fence := _FENCE.match(rest)):
            self._kind, self._fence = "code", fence[1] or fence[2]
        return True

    def _goes_on_in_fence(self, end: int, content: str) -> bool:
        if self._quoted:
            if not content.startswith(">"):
                self.close()
                return False
            content = QUOTE.sub("", content, count=1)
        if content:
            self._end = end
            if content.startswith(self._fence) and not content.strip(self._fence[0]):
                self.close()
        return True

    def _skip_comments(self, at: int, end: int) -> bool:
        if at > self._last_comment:
            return False  # never closed: it is text
        self.close()
        while at <= self._last_comment and self._text.startswith("<!--", at):
            at = self._text.index("-->", at + 2) + 3
            at = _skipped_blanks(self._text, at)
        self.skip_to = at
        if at < end:
            self.take(at, self._text[at:end])
        return True

    def _read_front_matter(self) -> None:
        begin = self._text.find("\n") + 1
        close = _FRONT_MATTER_END.search(self._text, begin) if begin and not self._text[3:begin].strip() else None
        if not close or not _FRONT_MATTER_KEY.match(self._text, begin, close.start()):
            return
        self.skip_to = close.end()
        title = _FRONT_MATTER_TITLE.search(self._text, begin, close.start())
        if title:
            start, end = title.span(1)
            quotes = 1 if title[1][0] in "\"'" else 0
            if end - start <= _LONGEST_HEADING:
                self.found.append(Block(start + quotes, start + len(title[1].rstrip()) - quotes, "heading", 1))


def _indent(line: str, content: str) -> int:
    lead = line[: len(line) - len(content)]
    if lead.strip(" "):  # a tab, or a space of another script, which is part of the text
        lead = lead[: len(lead) - len(lead.lstrip(" \t"))].expandtabs(4)
    return len(lead)


def _skipped_blanks(text: str, at: int) -> int:
    while text.startswith((" ", "\t"), at):
        at += 1
    return at

"""Writing Markdown: every format with a structure of its own arrives as this, so that one chunker serves all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.readers.base import CHARACTERS, PARTS, Extract, too_long, too_many_parts

_DEEPEST = 6
# What would begin a heading, a table row, a quotation or code at the beginning of a line, or be a line of its own.
_BEGINS_A_BLOCK = re.compile(r"(?m)^(?=#{1,6}(?:[ \t]|$)|\||>|```|~~~|[-*_=|:][-*_=|: \t]*$)")
_MARK = re.compile(r"[\\`*_\[<&]")
_PUNCTUATION = r"[!-/:-@\[-`{-~]"
_TICKS = re.compile(r"`{3,}")


class Markdown:
    """
    A text under construction. What is put in is plain text: no character of it is taken for a mark.

    Args:
        most_parts: how many blocks it may have.

    Raises:
        DocumentsError: from any method, once the text is longer, or has more parts, than the limits.

    >>> page = Markdown()
    >>> page.heading(1, "Ports")
    >>> page.paragraph("# is no heading here.")
    >>> page.item("one")
    >>> page.item("two")
    >>> print(page.text)
    # Ports
    <BLANKLINE>
    \\# is no heading here.
    <BLANKLINE>
    - one
    - two
    """

    def __init__(self, *, most_parts: int = PARTS) -> None:
        self._most_parts = most_parts
        self._parts: list[str] = []
        self._length = 0
        self._last = ""
        self._depth = 0  # of the last item
        self._pages: list[int] = []

    @property
    def text(self) -> str:
        """What is written so far."""
        return "".join(self._parts)

    def extract(self, *, title: str = "") -> Extract:
        """The finished text."""
        return Extract(self.text, True, tuple(min(at, self._length) for at in self._pages), title)

    def page(self) -> None:
        """Begin a page; it starts where the next block does."""
        self._last = ""  # what comes next stands apart: two line ends and then it
        self._pages.append(self._length + 2 if self._length else 0)

    def heading(self, level: int, text: str) -> None:
        """A heading of level 1 to 6, on one line."""
        line = " ".join(text.split())
        if line:
            line = re.sub(r"#+$", lambda end: "\\#" * len(end[0]), _inline(line))  # as in C#
            self._add("heading", f"{'#' * min(max(level, 1), 6)} {line}")

    def paragraph(self, text: str) -> None:
        """A paragraph; line ends in it stay, empty lines do not."""
        lines = (" ".join(line.split()) for line in text.splitlines())
        self._add("paragraph", _escaped("\n".join(line for line in lines if line)))

    def item(self, text: str, *, depth: int = 0, mark: str = "-") -> None:
        """A list item on one line; `depth` counts from 0."""
        line = " ".join(text.split())
        if line:
            # A level without one above it would be read as code.
            self._depth = min(depth, _DEEPEST, self._depth + 1 if self._last == "item" else 0)
            self._add("item", f"{'    ' * self._depth}{mark} {_escaped(line)}")

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """A table whose first row is its header; rows may have different lengths."""
        filled = [[_inline(" ".join(cell.split())).replace("|", "\\|") for cell in row] for row in rows]
        filled = [row for row in filled if any(row)]
        width = max(map(len, filled), default=0)
        for number, row in enumerate(filled):
            self._add("row" if number else "table", f"| {' | '.join(row + [''] * (width - len(row)))} |")
            if number == 0:
                self._add("row", f"|{' --- |' * width}")

    def code(self, text: str) -> None:
        """A block of code, its spaces and line ends as they are."""
        body = text.strip("\n").rstrip()
        if body.strip():
            fence = "`" * (1 + max((len(run) for run in _TICKS.findall(body)), default=2))
            self._add("code", f"{fence}\n{body}\n{fence}")

    def _add(self, kind: str, block: str) -> None:
        if not block:
            return
        # A row or an item goes on with what is above it; anything else stands apart.
        tight = (kind == "row" and self._last in ("row", "table")) or (kind == self._last == "item")
        if self._parts:
            block = ("\n" if tight else "\n\n") + block
        self._parts.append(block)
        self._last = kind
        self._length += len(block)
        if self._length > CHARACTERS:
            raise too_long(self._length)
        if len(self._parts) > self._most_parts:
            raise too_many_parts(self._most_parts)


def _escaped(text: str) -> str:
    return _BEGINS_A_BLOCK.sub(r"\\", _inline(text))


def _inline(text: str) -> str:
    """Put a backslash before what would be read as a mark, and before nothing else: most texts stay as they are."""
    if not _MARK.search(text):
        return text
    text = re.sub(rf"(?m)\\(?={_PUNCTUATION}|$)", r"\\\\", text)
    if ">" in text:
        text = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", text)
    text = re.sub(r"&(?=#?\w{1,31};)", r"\\&", text)
    text = re.sub(r"\[(?=\^|[^\[\]]*\][(\[:])", r"\\[", text)
    if text.count("`") > 1:
        text = text.replace("`", "\\`")
    for sign in "*_":
        if text.count(sign) > 1:  # before a word, where emphasis begins
            text = re.sub(
                rf"(?<![^\W_])(?<!\{sign})\{sign}+(?=[^\s{sign}])", lambda run: f"\\{run[0][0]}" * len(run[0]), text
            )
    return text

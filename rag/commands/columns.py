"""Texts in columns on a terminal: a table of figures, and answers that grow side by side."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import TextIO

_GAP = " │ "
_LEAST_WIDTH = 32
_BETWEEN = "  "
_LEAST_FIRST = 8


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1, most: int = 100) -> list[str]:
    """
    Lines with aligned columns: the first `texts` of them to the left, the others, which are numbers, to the right.

    The first column is clipped where the lines would take more than `most` places.

    >>> print("\\n".join(table(["model", "s"], [["phi", "1.5"], ["gpt-oss", "10.0"]])))
    model       s
    phi       1.5
    gpt-oss  10.0
    """
    whole = [list(head), *map(list, rows)]
    widths = [max(cells(row[at]) for row in whole) for at in range(len(head))]
    widths[0] = min(widths[0], max(_LEAST_FIRST, most - sum(widths[1:]) - len(_BETWEEN) * (len(widths) - 1)))
    return [
        _BETWEEN.join(
            padded(clipped(one, widths[at]), widths[at], right=at >= texts) for at, one in enumerate(row)
        ).rstrip()
        for row in whole
    ]


def cells(text: str) -> int:
    """
    How many places a text takes on a terminal.

    >>> cells("abc"), cells("日本"), cells("é")
    (3, 4, 1)
    """
    return sum(_cells(letter) for letter in text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """A text with spaces before or behind it, so that it takes so many places."""
    spaces = " " * max(0, width - cells(text))
    return spaces + text if right else text + spaces


def clipped(text: str, width: int) -> str:
    """
    A text of at most so many places.

    >>> clipped("Phi-4-mini-instruct", 8)
    'Phi-4-m…'
    """
    if cells(text) <= width:
        return text
    kept = ""
    for letter in text:
        if cells(kept + letter) > width - 1:
            break
        kept += letter
    return kept + "…"


def readable(text: str) -> str:
    """
    A model's text without what would command the terminal.

    >>> readable("a\\x1b[31mb\\tc\\nd")
    'a[31mb    c\\nd'
    """
    spaced = text.replace("\t", "    ").replace("\r\n", "\n")
    return "".join(letter for letter in spaced if letter == "\n" or unicodedata.category(letter) != "Cc")


def wrapped(text: str, width: int) -> list[str]:
    """
    A text in lines of at most so many places, broken between words where that is possible.

    >>> wrapped("one two three\\n\\nincomprehensible", 8)
    ['one two', 'three', '', 'incompre', 'hensible']
    """
    return [line for paragraph in text.split("\n") for line in _lines(paragraph, width)]


class SideBySide:
    """
    Answers that grow in columns on a terminal, each under the name of its model.

    Args:
        names: of the columns.
        stream: the terminal.
        width, height: of the terminal, in places.
    """

    def __init__(self, names: Sequence[str], stream: TextIO, *, width: int, height: int) -> None:
        self._stream = stream
        self._height = max(4, height - 2)  # what has left the screen at the top cannot be drawn again
        self._width = column_width(len(names), width)
        self._names = [clipped(name, self._width) for name in names]
        self._texts = [""] * len(names)
        self._drawn = 0
        self._draw()

    def add(self, place: int, text: str) -> None:
        """More of an answer."""
        self._texts[place] += readable(text)
        self._draw()

    def end(self) -> None:
        """Draw all of the answers, also where they are longer than the terminal is high."""
        self._draw(whole=True)

    def lines(self) -> list[str]:
        """What is on the terminal, line by line."""
        columns = [
            [name, "─" * self._width, *wrapped(text.strip(), self._width)]
            for name, text in zip(self._names, self._texts, strict=True)
        ]
        longest = max(map(len, columns))
        full = [[*column, *[""] * (longest - len(column))] for column in columns]
        return [_GAP.join(padded(one, self._width) for one in row).rstrip() for row in zip(*full, strict=True)]

    def _draw(self, *, whole: bool = False) -> None:
        lines = self.lines()
        if len(lines) > self._height and not whole:
            lines = [*lines[:2], *lines[2 - self._height :]]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._stream.write(up + "\r\x1b[J" + "".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)


def column_width(count: int, width: int) -> int:
    """The places that each of so many columns has on a terminal."""
    return (width - 1 - len(_GAP) * (count - 1)) // count


def fit(count: int, width: int) -> bool:
    """Whether so many answers can be read side by side."""
    return count > 1 and column_width(count, width) >= _LEAST_WIDTH


def _cells(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Cf", "Cc", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _lines(paragraph: str, width: int) -> Iterator[str]:
    line = ""
    for word in paragraph.split(" "):
        joined = f"{line} {word}" if line else word
        if cells(joined) <= width:
            line = joined
            continue
        if line:
            yield line
        *full, line = _broken(word, width)
        yield from full
    yield line


def _broken(word: str, width: int) -> list[str]:
    pieces = [""]
    for letter in word:
        if cells(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces

"""Texts in columns on a terminal: a table of figures, and answers that grow side by side."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Protocol, TextIO

from rag.seen import seen

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
    if text.isascii() and text.isprintable():
        return len(text)
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
    return seen(text).replace("\t", "    ")


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

    What is added is drawn by `draw`, which may be called in another thread: who adds waits for no terminal.

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
        self._columns = [_Column(self._width) for _ in names]
        self._coming: SimpleQueue[tuple[int, str]] = SimpleQueue()
        self._drawn = 0
        self._write(self._height)

    def add(self, place: int, text: str) -> None:
        """More of an answer."""
        self._coming.put((place, text))

    def draw(self) -> None:
        """Show what came since; of answers longer than the terminal is high, the end."""
        if self._taken():
            self._write(self._height)

    def end(self) -> None:
        """Draw all of the answers, also where they are longer than the terminal is high."""
        self._taken()
        self._write(None)

    def _taken(self) -> bool:
        """Put what came into its columns; whether anything did."""
        fresh = [""] * len(self._columns)
        while True:
            try:
                place, text = self._coming.get_nowait()
            except Empty:
                break
            fresh[place] += text
        for column, text in zip(self._columns, fresh, strict=True):
            column.add(readable(text))
        return any(fresh)

    def _write(self, height: int | None) -> None:
        columns = [column.lines() for column in self._columns]
        longest = max(map(len, columns))
        first = 0 if height is None else max(0, longest + 2 - height)
        rows = [self._names, ["─" * self._width] * len(columns)]
        rows += [[column[at] if at < len(column) else "" for column in columns] for at in range(first, longest)]
        lines = [_GAP.join(padded(one, self._width) for one in row).rstrip() for row in rows]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._stream.write(up + "\r\x1b[J" + "".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)


class _Column:
    """
    A text that grows, in lines as `wrapped` has them; what is added costs no more at the end than at the beginning.

    >>> column = _Column(8)
    >>> for piece in (" one", " two thr", "ee"):
    ...     column.add(piece)
    >>> column.lines()
    ['one two', 'three']
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._full: list[str] = []
        self._last = ""  # the only line that more text can change

    def add(self, text: str) -> None:
        if not self._full and not self._last:
            text = text.lstrip()
        if text:
            *full, self._last = wrapped(self._last + text, self._width)
            self._full += full

    def lines(self) -> list[str]:
        lines = [*self._full, self._last]
        while len(lines) > 1 and not lines[-1].strip():
            lines.pop()
        return lines


class Draws(Protocol):
    """What shows answers on a terminal: `add` at once, `draw` now and then, `end` once."""

    def add(self, place: int, text: str) -> None: ...

    def draw(self) -> None: ...

    def end(self) -> None: ...


@asynccontextmanager
async def redrawn(stage: Draws, *, every_s: float = 0.1) -> AsyncIterator[None]:
    """Draw a stage every so many seconds, and all of it at the end, in threads: what is measured must not wait."""
    over = asyncio.Event()

    async def draw() -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await over.wait()
            await asyncio.to_thread(stage.draw)

    drawing = asyncio.create_task(draw())
    try:
        yield
    finally:
        over.set()
        with suppress(OSError):  # a terminal that is gone costs the picture, not the figures
            await drawing
            await asyncio.to_thread(stage.end)


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

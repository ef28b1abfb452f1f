"""Pack the blocks of a document into chunks, along its own headings, lists, tables and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from rag.blocks import Block, blocks, scan, title_of
from rag.documents import Document
from rag.inline import cells, plain
from rag.languages import DEFAULT
from rag.text import sentences

__all__ = ["Block", "Chunk", "blocks", "count_words", "plain", "split"]

# Scripts written without spaces between words, with their punctuation: Thai, Lao, Tibetan, Myanmar, Khmer, Japanese
# and Chinese (and the full-width forms that go with them).
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff00-\uff9f\U00020000-\U0003ffff]+"
)
_CHARACTERS_PER_WORD = 2
# A chunk may be this much too long where the rest would otherwise be a chunk of less than a quarter.
_OVERFLOW = 1.15
_TINY = 0.25
# Up to this many chunks' length, what has no full stop is one long sentence; beyond it is a list or a log.
_LONGEST_SENTENCE = 1.5
_LONGEST_OPENING_LINE = 300
# So many lead-ins in a row move on with what they announce.
_LONGEST_LEAD = 4
_SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？", "।", "॥")
_CLOSING = "\"'”’)]*_`」』"


@dataclass(frozen=True)
class Chunk:
    """
    A stretch of a document that is searched, shown to the model and cited.

    Attributes:
        text: exactly `document.text[start:end]`.
        document: the document's name.
        number: its place among the chunks of its document, from 0.
        heading: the headings above it, outermost first.
        start, end: the character span in the document.
        page: the page on which it begins, from 1; None for what has no pages.
        markdown: whether the text is Markdown.
        opening: what it begins inside, as lines of Markdown: the list items above, the names of a table's columns,
            the fence of a code block. Empty for most. Worth searching; `blocks` needs it to read the text aright.
        language: of the document, an ISO 639-1 code.
    """

    text: str
    document: str
    number: int = 0
    heading: tuple[str, ...] = ()
    start: int = 0
    end: int = 0
    page: int | None = None
    markdown: bool = True
    opening: str = ""
    language: str = DEFAULT


class _Piece(NamedTuple):
    """
    What is not cut any more: a block, an item with all that is in it, a table, or a part of a block too long.

    Attributes:
        start, end: its character span.
        words: its size; what lies between it and the piece before it is not counted.
        gap: the words there: comments and other things that are no blocks.
        block: the one that it begins with.
        parents: the list items around that block, outermost first.
        leads: whether the next piece should stay with it.
        turns: whether a page begins with it.
    """

    start: int
    end: int
    words: int
    gap: int
    block: Block
    parents: tuple[Block, ...] = ()
    leads: bool = False
    turns: bool = False


def split(document: Document, *, max_words: int = 150) -> list[Chunk]:
    """
    Cut a document into chunks of about `max_words` words: at most 15 % more, and only to spare a tiny chunk.

    A chunk never crosses a heading. Below one, neighbouring paragraphs share a chunk while they fit; a list item
    with all that is in it, a table and a code block stay whole if they fit into one; a line that ends in a colon
    stays with what it announces. What is longer is cut between sentences, rows or lines. A single one of these
    that is longer than a chunk is a chunk, except that a run of words without any full stop is cut as
    `rag.text.sentences` cuts it. A document of headings only is made of chunks of headings.

    Raises:
        ValueError: `max_words` is below 1.

    >>> text = "# Router\\n\\nHold the button.\\n\\n## Port\\n\\nIt is 8000."
    >>> [(chunk.heading, chunk.text) for chunk in split(Document("router.md", text))]
    [(('Router',), 'Hold the button.'), (('Router', 'Port'), 'It is 8000.')]
    """
    if max_words < 1:
        raise ValueError(f"max_words must be at least 1, was: {max_words}")
    text, markdown = document.text, document.is_markdown
    found = scan(text, markdown=markdown)
    paged = bool(document.pages) or "\f" in text
    language = document.language or DEFAULT
    chunks: list[Chunk] = []
    for heading, parts in _sections(text, found):
        for pieces in _packed(_pieces(document, parts, max_words, paged=paged), max_words):
            start, end = pieces[0].start, pieces[-1].end
            page, opening = document.page_at(start), _opening(text, pieces[0])
            chunks.append(
                Chunk(
                    text[start:end], document.name, len(chunks), heading, start, end, page, markdown, opening, language
                )
            )
    return chunks


def count_words(text: str) -> int:
    """
    How long a text is, in words. Where a script has no spaces between words, two characters count as one.

    >>> count_words("Hold the button."), count_words("ボタンを長押し"), count_words("ปุ่ม reset")
    (3, 4, 3)
    """
    if text.isascii():
        return len(text.split())
    unspaced = sum(map(len, _UNSPACED.findall(text)))
    if not unspaced:
        return len(text.split())
    return len(_UNSPACED.sub(" ", text).split()) + -(-unspaced // _CHARACTERS_PER_WORD)


def _sections(text: str, found: Sequence[Block]) -> Iterator[tuple[tuple[str, ...], Sequence[Block]]]:
    """The blocks between two headings each time, with the headings above them, outermost first."""
    trail: list[tuple[int, str]] = []  # (level, heading)
    parts: list[Block] = []
    if all(block.kind == "heading" for block in found):
        yield (), found
        return
    for block in found:
        if block.kind != "heading":
            parts.append(block)
            continue
        if parts:
            yield tuple(title for _, title in trail if title), parts
            parts = []
        while trail and trail[-1][0] >= block.depth:
            trail.pop()
        trail.append((block.depth, title_of(text, block)))
    if parts:
        yield tuple(title for _, title in trail if title), parts


def _pieces(document: Document, parts: Sequence[Block], max_words: int, *, paged: bool) -> list[_Piece]:
    text = document.text
    sizes = [count_words(text[block.start : block.end]) for block in parts]
    gaps = [0, *(_words_between(text, one, two) for one, two in pairwise(parts))][: len(parts)]
    pieces: list[_Piece] = []
    parents: list[Block] = []
    for at, to in _wholes(text, parts, [size + gap for size, gap in zip(sizes, gaps, strict=True)], max_words):
        block, last = parts[at], parts[to - 1]
        around = tuple(parents[: block.depth - (block.kind == "item")])
        if block.kind == "item":
            parents[block.depth - 1 :] = [block]
        turns = paged and at > 0 and _page_turns(document, parts[at - 1].end, block.start)
        leads = to < len(parts) and _announces(text, last, parts[to])
        if to - at > 1 or sizes[at] <= max_words or block.kind == "row":
            size = sum(sizes[at:to]) + sum(gaps[at + 1 : to])
            pieces.append(_Piece(block.start, last.end, size, gaps[at], block, around, leads, turns))
            continue
        spans = _lines(text, block) if block.kind == "code" else _sentences(text, block, max_words)
        for number, (start, end, size) in enumerate(spans, start=1):
            # The fences stay with a line of the code.
            edge = block.kind == "code" and number in (1, len(spans) - 1)
            first, final = number == 1, number == len(spans)
            gap = gaps[at] if first else 0
            pieces.append(_Piece(start, end, size, gap, block, around, leads if final else edge, turns and first))
    return pieces


def _wholes(text: str, parts: Sequence[Block], sizes: Sequence[int], max_words: int) -> Iterator[tuple[int, int]]:
    """Ranges of the blocks that stay together: an item with all that is in it, a table, or else a block alone."""
    at = 0
    while at < len(parts):
        first, to = parts[at], at + 1
        size = sizes[at]
        if first.kind == "row":
            while to < len(parts) and _same_table(text, parts[to - 1], parts[to]):
                size += sizes[to]
                to += 1
        elif first.kind == "item":
            while to < len(parts) and size <= max_words and _is_in(parts[to], first):
                size += sizes[to]
                to += 1
        if size <= max_words:
            yield at, to
        elif first.kind == "row":
            yield from ((row, row + 1) for row in range(at, to))
        else:
            to = at + 1
            yield at, to
        at = to


def _same_table(text: str, row: Block, block: Block) -> bool:
    return block.kind == "row" and text.count("\n", row.end, block.start) <= 1


def _is_in(block: Block, item: Block) -> bool:
    return block.depth > item.depth or (block.depth == item.depth and block.kind != "item")


def _words_between(text: str, one: Block, other: Block) -> int:
    between = text[one.end : other.start]
    return 0 if between.isspace() else count_words(between)


def _page_turns(document: Document, end: int, start: int) -> bool:
    """Whether a page ends between two blocks."""
    return document.page_at(end - 1) != document.page_at(start) or document.text.find("\f", end, start) >= 0


def _announces(text: str, block: Block, following: Block) -> bool:
    """Whether it heads a table, or ends in a colon and what follows is not just the next of its kind."""
    if block.kind == "row":
        line = not text[block.start : block.end].strip("|-:> \t")
        return following.header != "" and (line or not block.header)
    if text[block.end - 1] not in ":：*_" or block.kind not in ("text", "item"):
        return False
    if text[max(block.end - 5, 0) : block.end].rstrip("*_ ")[-1:] not in (":", "："):
        return False
    return following.kind in ("row", "code") or following.depth > block.depth or text.startswith(">", following.start)


def _lines(text: str, block: Block) -> list[tuple[int, int, int]]:
    """(start, end, words) of each line of a code block that is not blank."""
    spans = []
    position = block.start
    for line in text[block.start : block.end].splitlines(keepends=True):
        content = line.rstrip()
        if content:
            spans.append((position, position + len(content), count_words(content)))
        position += len(line)
    return spans


def _sentences(text: str, block: Block, max_words: int) -> list[tuple[int, int, int]]:
    """(start, end, words) of each sentence, those joined again that were cut only because they are long."""
    body = text[block.start : block.end]
    spans: list[tuple[int, int, int]] = []
    parts: list[tuple[int, int, int]] = []  # of the sentence that has not ended yet
    for start, end in sentences(body):
        parts.append((block.start + start, block.start + end, count_words(body[start:end])))
        if end == len(body) or body[max(start, end - 12) : end].rstrip(_CLOSING).endswith(_SENTENCE_ENDS):
            size = sum(words for _, _, words in parts)
            whole = len(parts) > 1 and size <= max_words * _LONGEST_SENTENCE
            spans += [(parts[0][0], parts[-1][1], size)] if whole else parts
            parts = []
    return spans + parts


def _packed(pieces: Sequence[_Piece], limit: int) -> list[list[_Piece]]:
    packed: list[list[_Piece]] = []
    current: list[_Piece] = []
    size = 0
    for piece in pieces:
        room = limit * _OVERFLOW if size < limit * _TINY else limit
        turns = piece.turns and size * 2 >= limit and not current[-1].leads
        if current and (turns or size + piece.gap + piece.words > room):
            stay = len(current) - _leading(current, piece, limit)
            packed.append(current[:stay])
            current = current[stay:]
            size = _size(current)
        current.append(piece)
        size += piece.words + (piece.gap if len(current) > 1 else 0)
    if current:
        packed.append(current)
    if len(packed) > 1:
        packed[-2:] = _balanced(packed[-2], packed[-1], limit)
    return packed


def _leading(current: Sequence[_Piece], piece: _Piece, limit: int) -> int:
    """How many pieces at the end should go with the one that begins the next chunk, and fit into it."""
    size = piece.gap + piece.words
    moving = 0
    for earlier in current[: -_LONGEST_LEAD - 1 : -1]:
        if not earlier.leads or size + earlier.words > limit:
            break
        size += earlier.gap + earlier.words
        moving += 1
    return moving % len(current)


def _balanced(one: list[_Piece], other: list[_Piece], limit: int) -> list[list[_Piece]]:
    """The last two chunks of a section: joined if the rest is tiny, or cut where they are most alike."""
    pieces = one + other
    size, rest = _size(pieces), _size(other)
    if rest < limit * _TINY and size <= limit * _OVERFLOW:
        return [pieces]
    if other[0].turns or rest * 2 >= size - rest:
        return [one, other]
    best, least = len(one), size
    left = 0
    for at, piece in enumerate(pieces[:-1], start=1):
        left += piece.gap + piece.words
        difference = abs(size - 2 * left)
        if difference < least and not piece.leads and max(left, size - left) <= limit:
            best, least = at, difference
    return [pieces[:best], pieces[best:]]


def _size(pieces: Sequence[_Piece]) -> int:
    return sum(piece.gap + piece.words for piece in pieces) - (pieces[0].gap if pieces else 0)


def _opening(text: str, piece: _Piece) -> str:
    """What a chunk that begins with this piece begins inside; see `Chunk.opening`."""
    block = piece.block
    within = piece.start != block.start
    if not (within or piece.parents or block.header):
        return ""
    lines = [_first_line(text, item) for item in piece.parents]
    if within and block.kind != "code" and (block.kind == "item" or _first_line(text, block).lstrip().startswith(">")):
        lines.append(_first_line(text, block))  # and no blank line: the sentence goes on with it
    elif lines:
        lines.append("")
    if within and block.kind == "code":
        first = _first_line(text, block)
        lines += [first] if "```" in first or "~~~" in first else []
    elif block.header:
        lines += [block.header, "|" + "---|" * len(cells(block.header))]
    return "".join(f"{line}\n" for line in lines)


def _first_line(text: str, block: Block) -> str:
    return text[block.start : min(block.end, block.start + _LONGEST_OPENING_LINE)].split("\n", 1)[0]

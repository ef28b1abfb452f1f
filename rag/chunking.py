"""Pack the blocks of a document into chunks, along its own headings, lists, tables and paragraphs."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import NamedTuple

from rag.blocks import Block, blocks, title_of, walk
from rag.documents import Document
from rag.inline import cells, plain
from rag.languages import DEFAULT
from rag.readers.base import PARTS, too_many_parts
from rag.text import each_sentence

__all__ = ["Block", "Chunk", "blocks", "count_words", "plain", "split"]

# Scripts written without spaces between words, with their punctuation: Thai, Lao, Tibetan, Myanmar, Khmer, Japanese
# and Chinese (and the full-width forms that go with them).
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff00-\uff9f\U00020000-\U0003ffff]+"
)
_CHARACTERS_PER_WORD = 2
_COUNTED_AT_ONCE = 65_536  # characters: a list of all words of a long line takes ten times its memory
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


class _Sized(NamedTuple):
    """A block, its words, and the words between it and the block before it."""

    block: Block
    words: int
    gap: int


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


def split(document: Document, *, max_words: int = 150, most_parts: int = PARTS) -> list[Chunk]:
    """
    Cut a document into chunks of about `max_words` words: at most 15 % more, and only to spare a tiny chunk.

    A chunk never crosses a heading. Below one, neighbouring paragraphs share a chunk while they fit; a list item
    with all that is in it, a table and a code block stay whole if they fit into one; a line that ends in a colon
    stays with what it announces. What is longer is cut between sentences, rows or lines. A single one of these
    that is longer than a chunk is a chunk, except that a run of words without any full stop is cut as
    `rag.text.sentences` cuts it. A document of headings only is made of chunks of headings.

    Takes time linear in the text, and little memory beside it and the chunks.

    Args:
        document: what to cut.
        max_words: the size of a chunk, in words.
        most_parts: how many blocks, or sentences of blocks that are too long, it may have.

    Raises:
        ValueError: `max_words` is below 1.
        DocumentsError: the document has more parts than that.

    >>> text = "# Router\\n\\nHold the button.\\n\\n## Port\\n\\nIt is 8000."
    >>> [(chunk.heading, chunk.text) for chunk in split(Document("router.md", text))]
    [(('Router',), 'Hold the button.'), (('Router', 'Port'), 'It is 8000.')]
    """
    if max_words < 1:
        raise ValueError(f"max_words must be at least 1, was: {max_words}")
    text, markdown = document.text, document.is_markdown
    paged = bool(document.pages) or "\f" in text
    language = document.language or DEFAULT
    chunks: list[Chunk] = []
    cut = 0
    for heading, parts in _sections(text, markdown=markdown, most_parts=most_parts):
        for pieces in _packed(_pieces(document, parts, max_words, paged=paged), max_words):
            cut += len(pieces)
            if cut > most_parts:
                raise too_many_parts(most_parts)
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
    if len(text) <= _COUNTED_AT_ONCE:
        words, unspaced = _words_and_unspaced(text)
    else:
        words = unspaced = start = 0
        while start < len(text):
            cut = text.find(" ", start + _COUNTED_AT_ONCE) + 1 or len(text)
            more = _words_and_unspaced(text[start:cut])
            words, unspaced, start = words + more[0], unspaced + more[1], cut
    return words + -(-unspaced // _CHARACTERS_PER_WORD)


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script that puts no spaces between words."""
    return bool(_UNSPACED.match(character))


def _words_and_unspaced(text: str) -> tuple[int, int]:
    """How many words there are with spaces around them, and how many characters of scripts that have no spaces."""
    if text.isascii():
        return len(text.split()), 0
    unspaced = sum(map(len, _UNSPACED.findall(text)))
    return len((_UNSPACED.sub(" ", text) if unspaced else text).split()), unspaced


def _sections(text: str, *, markdown: bool, most_parts: int) -> Iterator[tuple[tuple[str, ...], Iterable[Block]]]:
    """The blocks between two headings each time, with the headings above them, outermost first."""
    trail: list[tuple[int, str]] = []  # (level, heading)
    has_text = False
    for is_heading, run in groupby(_counted(walk(text, markdown=markdown), most_parts), key=_is_heading):
        if not is_heading:
            has_text = True
            yield tuple(title for _, title in trail if title), run
            continue
        for block in run:
            while trail and trail[-1][0] >= block.depth:
                trail.pop()
            trail.append((block.depth, title_of(text, block)))
    if not has_text:
        yield (), walk(text, markdown=markdown)


def _is_heading(block: Block) -> bool:
    return block.kind == "heading"


def _counted(found: Iterable[Block], most: int) -> Iterator[Block]:
    for number, block in enumerate(found):
        if number == most:
            raise too_many_parts(most)
        yield block


def _pieces(document: Document, parts: Iterable[Block], max_words: int, *, paged: bool) -> Iterator[_Piece]:
    text = document.text
    parents: list[Block] = []
    before: Block | None = None
    for whole, following in _wholes(text, parts, max_words):
        (block, words, gap), last = whole[0], whole[-1].block
        around = tuple(parents[: block.depth - (block.kind == "item")]) if parents else ()
        if block.kind == "item":
            parents[block.depth - 1 :] = [block]
        turns = paged and before is not None and _page_turns(document, before.end, block.start)
        leads = following is not None and _announces(text, last, following)
        before = last
        if len(whole) > 1 or words <= max_words or block.kind == "row":
            size = sum(one.words + one.gap for one in whole) - gap
            yield _Piece(block.start, last.end, size, gap, block, around, leads, turns)
        elif block.kind == "code":
            spans = _lines(text, block)
            for number, (start, end, size) in enumerate(spans, start=1):
                # The fences stay with a line of the code.
                stays = leads if number == len(spans) else number in (1, len(spans) - 1)
                first = number == 1
                yield _Piece(start, end, size, gap if first else 0, block, around, stays, turns and first)
        else:
            for number, (start, end, size) in enumerate(_sentences(text, block, max_words)):
                first, final = number == 0, end == block.end
                yield _Piece(start, end, size, gap if first else 0, block, around, leads and final, turns and first)


def _wholes(text: str, parts: Iterable[Block], max_words: int) -> Iterator[tuple[list[_Sized], Block | None]]:
    """
    The blocks that stay together, each time with the block that follows: an item with all that is in it, a table, or
    else a block alone. No more of them are looked at ahead than fit into a chunk.
    """
    source = _sized(text, parts)
    ahead = deque(islice(source, 1))
    row: Block | None = None  # of a table that is too long, the one before
    while ahead:
        first, to = ahead[0].block, 1
        size = ahead[0].words + ahead[0].gap
        goes_on = row is not None and _same_table(text, row, first)
        if first.kind in ("row", "item") and not goes_on:
            while size <= max_words and _has(ahead, to, source):
                block, words, gap = ahead[to]
                if not (_same_table(text, ahead[to - 1].block, block) if first.kind == "row" else _is_in(block, first)):
                    break
                size += words + gap
                to += 1
        if size > max_words:
            to = 1
        row = first if first.kind == "row" and (goes_on or size > max_words) else None
        whole = [ahead.popleft() for _ in range(to)]
        yield whole, ahead[0].block if _has(ahead, 0, source) else None


def _has(ahead: deque[_Sized], at: int, source: Iterator[_Sized]) -> bool:
    if len(ahead) <= at:
        ahead.extend(islice(source, 1))
    return len(ahead) > at


def _sized(text: str, parts: Iterable[Block]) -> Iterator[_Sized]:
    end = -1
    for block in parts:
        gap = _words_between(text, end, block.start) if end >= 0 else 0
        end = block.end
        yield _Sized(block, count_words(text[block.start : end]), gap)


def _same_table(text: str, row: Block, block: Block) -> bool:
    return block.kind == "row" and text.count("\n", row.end, block.start) <= 1


def _is_in(block: Block, item: Block) -> bool:
    return block.depth > item.depth or (block.depth == item.depth and block.kind != "item")


def _words_between(text: str, end: int, start: int) -> int:
    between = text[end:start]
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


def _sentences(text: str, block: Block, max_words: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, words) of each sentence, those joined again that were cut only because they are long."""
    body = text[block.start : block.end]
    parts: list[tuple[int, int, int]] = []  # of the sentence that has not ended yet
    for start, end in each_sentence(body):
        parts.append((block.start + start, block.start + end, count_words(body[start:end])))
        if end == len(body) or body[max(start, end - 12) : end].rstrip(_CLOSING).endswith(_SENTENCE_ENDS):
            size = sum(words for _, _, words in parts)
            whole = len(parts) > 1 and size <= max_words * _LONGEST_SENTENCE
            yield from [(parts[0][0], parts[-1][1], size)] if whole else parts
            parts = []
    yield from parts


def _packed(pieces: Iterable[_Piece], limit: int) -> Iterator[list[_Piece]]:
    previous: list[_Piece] = []  # held back, as the last two are balanced
    current: list[_Piece] = []
    size = 0
    for piece in pieces:
        room = limit * _OVERFLOW if size < limit * _TINY else limit
        turns = piece.turns and size * 2 >= limit and not current[-1].leads
        if current and (turns or size + piece.gap + piece.words > room):
            stay = len(current) - _leading(current, piece, limit)
            if previous:
                yield previous
            previous, current = current[:stay], current[stay:]
            size = _size(current)
        current.append(piece)
        size += piece.words + (piece.gap if len(current) > 1 else 0)
    if previous:
        yield from _balanced(previous, current, limit)
    elif current:
        yield current


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

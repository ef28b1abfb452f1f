"""Split documents into chunks along their own headings and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rag.documents import Document
from rag.text import sentences

_HEADING = re.compile(r"(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+")


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
    """

    text: str
    document: str
    number: int = 0
    heading: tuple[str, ...] = ()
    start: int = 0
    end: int = 0
    page: int | None = None
    markdown: bool = True


@dataclass(frozen=True)
class Block:
    """A paragraph, a list item, a table row or a code block: what is never joined to its neighbour in a sentence."""

    start: int
    end: int
    kind: str  # "text", "item", "row", "code"


@dataclass(frozen=True)
class _Section:
    heading: tuple[str, ...]
    blocks: list[Block]


def split(document: Document, *, max_words: int = 160) -> list[Chunk]:
    """
    Cut a document into chunks of at most `max_words` words.

    Neighbouring paragraphs under the same heading share a chunk while they fit. A longer paragraph is cut
    between sentences, a longer code block between lines.

    Raises:
        ValueError: `max_words` is below 1.

    >>> text = "# Router\\n\\nHold the button.\\n\\n## Port\\n\\nIt is 8000."
    >>> [(chunk.heading, chunk.text) for chunk in split(Document("router.md", text))]
    [(('Router',), 'Hold the button.'), (('Router', 'Port'), 'It is 8000.')]
    """
    if max_words < 1:
        raise ValueError(f"max_words must be at least 1, was: {max_words}")
    chunks: list[Chunk] = []
    for section in _sections(document):
        for start, end in _packed(document.text, section.blocks, max_words):
            chunks.append(
                Chunk(
                    document.text[start:end],
                    document.name,
                    len(chunks),
                    section.heading,
                    start,
                    end,
                    document.page_at(start),
                    document.is_markdown,
                )
            )
    return chunks


def blocks(text: str, *, markdown: bool = True) -> list[Block]:
    """The blocks of a text in order. Headings are not among them. Linear in the length of the text."""
    return [block for section in _sections(Document("x.md" if markdown else "x.txt", text)) for block in section.blocks]


def _sections(document: Document) -> Iterator[_Section]:
    text, markdown = document.text, document.is_markdown
    trail: list[tuple[int, str]] = []  # (level, heading)
    section = _Section((), [])
    open_from, open_to, kind = -1, -1, "text"
    fence = ""

    def close() -> None:
        nonlocal open_from
        if open_from >= 0:
            section.blocks.append(Block(open_from, open_to, kind))
        open_from = -1

    position = 0
    for line in text.splitlines(keepends=True):
        start, position = position, position + len(line)
        content = line.rstrip()
        end = start + len(content)
        if fence:
            open_to = max(end, open_to)
            if content.strip().startswith(fence) and not content.strip().strip(fence[0]):
                fence = ""
                close()
            continue
        if not content.strip():
            close()
            continue
        opening = _FENCE.match(content) if markdown else None
        if opening:
            close()
            fence, open_from, open_to, kind = opening[1], start, end, "code"
            continue
        heading = _HEADING.match(content) if markdown else None
        if heading:
            close()
            if section.blocks:
                yield section
            level = len(heading[1])
            while trail and trail[-1][0] >= level:
                trail.pop()
            trail.append((level, plain(heading[2])))
            section = _Section(tuple(title for _, title in trail if title), [])
            continue
        if content.lstrip().startswith("|"):
            close()
            open_from, open_to, kind = start, end, "row"
        elif _ITEM.match(content):
            close()
            open_from, open_to, kind = start, end, "item"
        elif open_from < 0 or kind == "row":
            close()
            open_from, open_to, kind = start, end, "text"
        else:
            open_to = end
    close()
    if section.blocks:
        yield section


def _packed(text: str, parts: list[Block], max_words: int) -> Iterator[tuple[int, int]]:
    start, end, count = -1, -1, 0
    for piece_start, piece_end in _pieces(text, parts, max_words):
        size = len(text[piece_start:piece_end].split())
        if start >= 0 and count + size > max_words:
            yield start, end
            start = -1
        if start < 0:
            start, count = piece_start, 0
        end, count = piece_end, count + size
    if start >= 0:
        yield start, end


def _pieces(text: str, parts: list[Block], max_words: int) -> Iterator[tuple[int, int]]:
    for part in parts:
        body = text[part.start : part.end]
        if len(body.split()) <= max_words:
            yield part.start, part.end
            continue
        spans = (
            [match.span() for match in re.finditer(r"[^\n]*\S[^\n]*", body)] if part.kind == "code" else sentences(body)
        )
        for start, end in spans:
            yield part.start + start, part.start + end


def plain(markdown: str) -> str:
    """
    A line of Markdown without its marks, as a reader would say it. What stands in backticks is left as it is.

    >>> plain("- **Hold** the [button](x.md) for `2**10 s`")
    'Hold the button for 2**10 s'
    """
    text = _ITEM.sub("", markdown, count=1) if _ITEM.match(markdown) else markdown
    if text.lstrip().startswith("|"):
        text = ", ".join(cell.strip() for cell in text.strip().strip("|").split("|") if cell.strip())
    text = re.sub(r"(?m)^[ ]{0,3}>[ ]?", "", text)
    parts = text.split("`")
    parts[::2] = [_without_emphasis(part) for part in parts[::2]]  # every other part is code
    return " ".join("".join(parts).split())


def _without_emphasis(text: str) -> str:
    text = re.sub(r"!?\[([^\]\n]{0,300})\]\([^)\s]{0,300}\)", r"\1", text)
    text = re.sub(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*\n]{1,300})(?<=[^\s*])\1(?![\w*])", r"\2", text)
    return re.sub(
        r"(?<!\w)(_{1,2})(?=[^\s_])([^_\n]{1,300} [^_\n]{1,300}|[^\W_]{1,300})(?<=[^\s_])\1(?!\w)", _inner, text
    )


def _inner(match: re.Match[str]) -> str:
    # `__init__` is a name, `_so_` and `__so it is__` are emphasis.
    return match[0] if match[1] == "__" and " " not in match[2] else match[2]

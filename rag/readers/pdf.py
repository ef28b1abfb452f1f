"""
PDF: lines put back together into paragraphs, by where they stand on the page.

A PDF knows neither words nor paragraphs, only where each character is drawn. What a paragraph, a heading or a
running head is, is a guess from distances and sizes; the rules were tried on manuals and papers, and a wrong guess
costs a sentence cut in two or two that are joined.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rag.errors import DocumentsError
from rag.readers.base import CHARACTERS, Extract, too_long
from rag.readers.markdown import Markdown

_BROKEN_HYPHEN = "\ufffe"  # what PDFium makes of a hyphen at the end of a line
_PAGE_ENDS = "\uffff"  # stands behind the last word of a page until the text is finished
_LINE = re.compile(r"[^\r\n\ufffe]+\ufffe?")
_BULLET = re.compile(r"[•▪◦‣∙●○■·–]\s+")
_LEADER = re.compile(r"(?:\s?[.·_…]){4,}\s*")
_LISTED = re.compile(r"(?:[•▪◦‣∙●○■·–]|-(?=\s)|\(?(?:\d{1,3}|[a-zA-Z])[.)](?=\s))")
_SENTENCE_END = re.compile(r"""[.!?:;…。！？][\"'”’»)\]]*$""")
_WORD_PARTS = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_PAGE_NUMBER = re.compile(r"\W*(?:(?:page|seite|p\.)?\s*#(?:\s*(?:/|of|von|de)\s*#)?|[ivxlc]{1,6})\W*")
_NOT_A_TITLE = re.compile(r"^\(?(?:anonymous|untitled|unspecified|none)\)?$|^$", re.I)
_OFFICE_TITLE = re.compile(r"^Microsoft (?:Office )?\w+ - ")

_EDGE = 0.12  # the share of a page's height, above and below, where running heads stand
_HEADING_SIZE = 1.15  # against the size of most of the text
_LONGEST_HEADING = 200


@dataclass(frozen=True)
class _Line:
    """One line: its text and where it stands on its page, in points from below and from the left."""

    text: str
    left: float
    right: float
    bottom: float
    size: float
    at_edge: bool  # where running heads stand
    broken: bool = False  # ends in the middle of a word

    @property
    def ends_a_sentence(self) -> bool:
        return _SENTENCE_END.search(self.text) is not None


@dataclass(frozen=True)
class _Paragraph:
    text: str
    size: float


def read(raw: bytes) -> Extract:
    """A PDF, with its pages."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(raw)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise DocumentsError("encrypted: save a copy without a password") from error
        raise DocumentsError("damaged: not readable as PDF") from error
    try:
        pages = list(_pages(document))
        title = _title(document)
    finally:
        document.close()
    if not any(pages):
        raise DocumentsError("no text: a scan? Let a program for text recognition (OCR) make a copy with text")
    return _written(list(_paragraphs(_without_running_heads(pages))), title)


def _title(document: Any) -> str:
    title = _OFFICE_TITLE.sub("", str(document.get_metadata_dict().get("Title", "")).strip())
    return "" if _NOT_A_TITLE.match(title) else title


def _pages(document: Any) -> Iterator[list[_Line]]:
    import pypdfium2

    length = 0
    for number in range(len(document)):
        try:
            page = document[number]
            text_page = page.get_textpage()
        except pypdfium2.PdfiumError:
            yield []  # the others may be sound
            continue
        lines = list(_lines(text_page, page.get_height()))
        text_page.close()
        page.close()
        length += sum(len(line.text) for line in lines)
        if length > CHARACTERS:
            raise too_long(length)
        yield lines


def _lines(text_page: Any, height: float) -> Iterator[_Line]:
    from pypdfium2 import raw as pdfium

    boxes = first, middle, last = pdfium.FS_RECTF(), pdfium.FS_RECTF(), pdfium.FS_RECTF()
    count = text_page.count_chars()
    text = text_page.get_text_range() if count else ""
    for found in _LINE.finditer(text):
        broken = found[0].endswith(_BROKEN_HYPHEN)
        line = " ".join(found[0].rstrip(_BROKEN_HYPHEN).replace("\xad", "").split())
        line = _LEADER.sub(" … ", line).strip()
        if not line:
            continue
        begin = found.start() + len(found[0]) - len(found[0].lstrip())
        end = max(found.end() - 1 - (len(found[0]) - len(found[0].rstrip())), begin)
        for box, at in zip(boxes, (begin, (begin + end) // 2, end), strict=True):
            pdfium.FPDFText_GetLooseCharBox(text_page.raw, min(at, count - 1), box)
        # Of three, so that neither a bullet nor the mark of a footnote counts for the line.
        size = max(sorted(box.top - box.bottom for box in boxes)[1], 1.0)
        at_edge = not height * _EDGE < (middle.top + middle.bottom) / 2 < height * (1 - _EDGE)
        yield _Line(line, first.left, max(last.right, first.left), middle.bottom, size, at_edge, broken)


def _without_running_heads(pages: Sequence[list[_Line]]) -> list[list[_Line]]:
    """
    Leave out page numbers, and what stands at the edge of several pages and differs in numbers only.

    Several, not most: left and right pages differ, and so do chapters.
    """
    if len(pages) < 2:
        return list(pages)

    def key(line: _Line) -> str:
        return re.sub(r"\d+", "#", line.text.casefold())

    seen = Counter(one for page in pages for one in {key(line) for line in page if line.at_edge})
    often = 2 if len(pages) < 5 else 3 + len(pages) // 100
    running = {one for one, times in seen.items() if times >= often or _PAGE_NUMBER.fullmatch(one)}
    return [[line for line in page if not (line.at_edge and key(line) in running)] for page in pages]


def _paragraphs(pages: Sequence[Sequence[_Line]]) -> Iterator[_Paragraph]:
    pitch = _pitch(pages)
    known = {word.casefold() for page in pages for line in page for word in _WORD_PARTS.findall(line.text)}
    text, last = "", None
    for page in pages:
        reach = _reach(page)
        for line in page:
            if last is not None and _goes_on(last, line, pitch=pitch, reach=reach.get(_column(last), last.right)):
                text = _joined(text, line.text, known) if last.broken else f"{text} {line.text}"
            else:
                if last is not None:
                    yield _Paragraph(text, last.size)
                text = line.text
            last = line
        text += _PAGE_ENDS
    yield _Paragraph(text, last.size if last else 0.0)


def _goes_on(last: _Line, line: _Line, *, pitch: float, reach: float) -> bool:
    """Whether a line belongs to the paragraph of the line before it."""
    if last.broken:
        return True
    room = (reach - last.right) / max(reach - last.left, 1.0)  # that the last line left empty
    if last.size > _HEADING_SIZE * line.size:
        return False
    if line.size > _HEADING_SIZE * last.size and (room > 0.1 or last.ends_a_sentence):
        return False
    if _LISTED.match(line.text) or " … " in last.text:
        return False
    begins_small = line.text[0].islower()
    down = (last.bottom - line.bottom) / last.size
    if down < -0.5:  # the next column, or the next page
        return begins_small or not (last.ends_a_sentence or line.text[0].isupper() or line.text[0].isdigit())
    if down < 0.5:  # the same line, after a gap
        return True
    if down > 1.3 * pitch:
        return False
    if begins_small:
        return True
    if room > 0.3 or (room > 0.1 and last.ends_a_sentence):
        return False
    return not (last.ends_a_sentence and line.left > last.left + 0.8 * line.size and not _LISTED.match(last.text))


def _column(line: _Line) -> int:
    return round(line.left / 12)


def _reach(page: Sequence[_Line]) -> dict[int, float]:
    """How far to the right the lines that begin at the same place go."""
    reach: dict[int, float] = defaultdict(float)
    for line in page:
        reach[_column(line)] = max(reach[_column(line)], line.right)
    return reach


def _pitch(pages: Sequence[Sequence[_Line]]) -> float:
    """The usual distance from line to line, in heights of a line."""
    steps = [
        (above.bottom - below.bottom) / above.size
        for page in pages
        for above, below in pairwise(page)
        if 0.5 < (above.bottom - below.bottom) / above.size < 3
    ]
    return statistics.median_low(steps) if steps else 1.2


def _joined(text: str, rest: str, known: set[str]) -> str:
    """Mend a word that was broken at the end of a line: `con-` and `figuration`, but `well-` and `known`."""
    before, after = re.search(r"[^\W\d_]+$", text), re.match(r"[^\W\d_]+", rest)
    if not before or not after or not after[0][0].islower():
        return f"{text}-{rest}"
    whole, linked = f"{before[0]}{after[0]}".casefold(), f"{before[0]}-{after[0]}".casefold()
    return f"{text}-{rest}" if linked in known and whole not in known else text + rest


def _written(paragraphs: Sequence[_Paragraph], title: str) -> Extract:
    sizes: Counter[float] = Counter()
    for one in paragraphs:
        sizes[round(one.size)] += len(one.text)
    usual = sizes.most_common(1)[0][0]
    levels = _levels(one.size for one in paragraphs if _is_heading(one, usual))
    page = Markdown()
    for one in paragraphs:
        if _is_heading(one, usual):
            page.heading(levels[one.size], one.text)
        elif _BULLET.match(one.text):
            page.item(_BULLET.sub("", one.text, count=1))
        else:
            page.paragraph(one.text)
    parts = page.text.split(_PAGE_ENDS)
    starts = [0]
    for part in parts[:-2]:
        starts.append(starts[-1] + len(part))
    return Extract("".join(parts), True, tuple(starts), title)


def _levels(sizes: Iterable[float]) -> dict[float, int]:
    """The level of each size, the largest first; sizes that the eye takes for one share a level."""
    levels: dict[float, int] = {}
    largest, level = float("inf"), 0
    for size in sorted(set(sizes), reverse=True):
        if size < largest * 0.93:
            largest, level = size, min(level + 1, 4)
        levels[size] = level
    return levels


def _is_heading(paragraph: _Paragraph, usual: float) -> bool:
    text = paragraph.text
    return (
        round(paragraph.size) >= _HEADING_SIZE * usual
        and len(text) <= _LONGEST_HEADING
        and sum(map(str.isalpha, text)) >= 2
    )

"""What a line of Markdown says without its marks. Every pattern here runs in time linear in the text."""

from __future__ import annotations

import html
import re
from itertools import zip_longest

ITEM = re.compile(r"(?:[-*+•‣◦▪●○■·]|[0-9]{1,9}[.)])(?:[ \t]+|$)")
QUOTE = re.compile(r"(?m)^[ \t]*+>(?:[ \t]*+>)*+[ \t]?")
_HEADING = re.compile(r"#{1,6}[ \t]+")
_BAR = re.compile(r"(?<!\\)\|")
_ANY_MARK = re.compile(r"[\\`*_\[<&]")
_TICKS = re.compile(r"`+")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
# The characters between two marks are taken at once and never given back (*+): no start is looked at twice.
_LINK = re.compile(
    r"!?\[([^\[\]]*+)\]\([ ]?(?:<[^<>]*+>|[^()\s]*+(?:\([^()\s]*+\)[^()\s]*+){0,3})"
    r"(?:[ ](?:\"[^\"]*+\"|'[^']*+'))?[ ]?\)"
)
_REFERENCE = re.compile(r"(?<!\w)!?\[([^\[\]]*+)\]\[[^\[\]]*+\]")
_FOOTNOTE = re.compile(r"\[\^[^\[\]\s]{1,50}\]:?")
_ADDRESS = re.compile(r"<((?:https?://|mailto:)[^<>\s]*+)>")
_TAG = re.compile(
    r"</?(a|abbr|b|blockquote|br|center|code|dd|del|details|div|dl|dt|em|figcaption|figure|font|h[1-6]|hr|i|img|ins"
    r"|kbd|li|mark|ol|p|picture|pre|q|s|samp|section|small|source|span|strong|sub|summary|sup|table|tbody|td|th|thead"
    r"|tr|tt|u|ul|var)(?=[\s/>])[^<>]*+>",
    re.IGNORECASE,
)
_STARS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*]++)(?<=\S)\1(?![\w*])")
_UNDERSCORES = re.compile(r"(?<!\w)(_{1,3})(?=[^\s_])([^_]++)(?<=\S)\1(?!\w)")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")

# Stand for what must be left as it is while the marks around it go; no text may contain these two.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_KEPT = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


def plain(markdown: str, *, header: str = "") -> str:
    """
    A line of Markdown without its marks, as a reader would say it. What stands in backticks is left as it is.

    Args:
        markdown: a sentence, an item, a heading or a table row.
        header: of a row, the header row of its table (`Block.header`): each cell is said with its column's name.

    >>> plain("- **Hold** the [button](x.md) for `2**10 s`")
    'Hold the button for 2**10 s'
    >>> plain("| reset | 10 s |", header="| Button | Hold it |")
    'Button: reset, Hold it: 10 s'
    """
    text = markdown.lstrip()
    if ">" in text:
        text = QUOTE.sub("", text).lstrip()
    if header or text.startswith("|"):
        named = (
            zip_longest(cells(header), cells(text), fillvalue="") if header else (("", cell) for cell in cells(text))
        )
        return ", ".join(_inline(f"{name}: {cell}" if name else cell) for name, cell in named if cell.strip("-: "))
    mark = ITEM.match(text) or _HEADING.match(text)
    return _inline(text[mark.end() :] if mark and mark.end() < len(text) else text)


def cells(row: str) -> list[str]:
    """
    The cells of a table row, still in Markdown. A bar behind a backslash is part of its cell.

    >>> cells("| a | b \\\\| c |")
    ['a', 'b | c']
    """
    inner = QUOTE.sub("", row).strip().removeprefix("|")
    if inner.endswith("|") and not inner.endswith("\\|"):
        inner = inner[:-1]
    return [cell.strip().replace("\\|", "|") for cell in _BAR.split(inner)]


def _inline(text: str) -> str:
    text = " ".join(text.replace("\\\n", "\n").split())  # a backslash at a line's end is a hard break
    if not _ANY_MARK.search(text):
        return text
    kept: list[str] = []
    text = _without_comments(_set_aside(text, kept))
    for _ in range(2):  # an image within a link, a word in italics within bold ones
        text = _LINK.sub(r"\1", text)
        text = _STARS.sub(r"\2", text)
        text = _UNDERSCORES.sub(_inner, text)
    text = _FOOTNOTE.sub("", _REFERENCE.sub(_named, text))
    text = _without_tags(_ADDRESS.sub(r"\1", text))
    text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    return " ".join(_KEPT.sub(lambda match: kept[int(match[1])], text).split())


def _set_aside(text: str, kept: list[str]) -> str:
    """The text with stand-ins for code spans and escaped characters; what they stand for is added to `kept`."""
    text = text.replace(_OPEN, "").replace(_CLOSE, "")

    def stand_in(original: str) -> str:
        kept.append(original)
        return f"{_OPEN}{len(kept) - 1}{_CLOSE}"

    def unescaped(part: str) -> str:
        return _ESCAPE.sub(lambda match: stand_in(match[1]), part)

    runs = [match.span() for match in _TICKS.finditer(text)]
    closing: list[int | None] = [None] * len(runs)  # for each run of backticks, the next one of the same length
    latest: dict[int, int] = {}
    for number in range(len(runs) - 1, -1, -1):
        size = runs[number][1] - runs[number][0]
        closing[number] = latest.get(size)
        latest[size] = number
    pieces: list[str] = []
    done, number = 0, 0
    while number < len(runs):
        (start, end), partner = runs[number], closing[number]
        number += 1
        if partner is None or text[start - 1 : start] == "\\":
            continue
        pieces += [unescaped(text[done:start]), stand_in(text[end : runs[partner][0]])]
        done, number = runs[partner][1], partner + 1
    return "".join([*pieces, unescaped(text[done:])])


def _without_comments(text: str) -> str:
    pieces = []
    done = 0
    while (start := text.find("<!--", done)) >= 0 and (end := text.find("-->", start + 2)) >= 0:
        pieces.append(text[done:start])
        done = end + 3
    return "".join([*pieces, text[done:]])


def _inner(match: re.Match[str]) -> str:
    # `__init__` and `_x.y_` are names; `_so_` and `__so it is__` are emphasis.
    inner = match[2]
    if " " in inner:
        return inner
    return inner if match[1] == "_" and _KEPT.sub("k", inner).isalnum() else match[0]


def _named(match: re.Match[str]) -> str:
    # `[the manual][m]` is a link; `[1][2]` are somebody's citations.
    return match[1] if any(character.isalpha() for character in match[1]) else match[0]


def _without_tags(text: str) -> str:
    closes = "</" in text

    def instead(match: re.Match[str]) -> str:
        name = match[1].lower()
        if not closes and match[0] == f"<{match[1]}>" and name not in ("br", "hr"):
            return match[0]  # nothing closes it: it is spoken of, as in 'press <b>'
        return "" if name in _WITHIN_A_WORD else " "

    return _TAG.sub(instead, text)


_WITHIN_A_WORD = frozenset(
    "a abbr b code del em font i ins kbd mark q s samp small span strong sub sup tt u var".split()
)

"""Bars as SVG that fits any width: lengths are in percent, so that letters keep their size on a small screen."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from rag.workbench.report import Report
from rag.workbench.selection import Line, short

_WIDEST = 56.0  # percent; behind it stands the value
# What a screen of 390 pixels has room for, in widths of a letter's height: a heading, and the words behind a bar.
_HEADING_EM, _WORDS_EM = 26.5, 11.0
_HEADING, _BAR, _GAP = 22, 20, 12  # pixels


@dataclass(frozen=True)
class Bar:
    """One bar: its value, the words behind it, and whether it is drawn strong or soft."""

    value: float
    words: str
    strong: bool = True


@dataclass(frozen=True)
class Group:
    """The bars of one model, below its name."""

    heading: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Chart:
    """A picture with a title and a sentence for who does not see it."""

    title: str
    said: str
    groups: tuple[Group, ...]


def charts(report: Report) -> list[Chart]:
    """The pictures of a report; one of which nothing is known is left out."""
    lines = [line for line in report.lines if not line.measured.failed]
    found = [
        Chart("Latency", "How long an answer takes, in seconds; shorter is better.", _groups(lines, _latency)),
        Chart("TTFT", "From the question to the first text, in seconds; shorter is better.", _groups(lines, _ttft)),
        Chart("Tokens a second", "How fast a model writes; longer is better.", _groups(lines, _rates)),
        Chart("Under two labels", "The latency of the same model, in seconds; shorter is better.", _pairs(report)),
    ]
    return [chart for chart in found if chart.groups]


def _groups(lines: Sequence[Line], bars: Callable[[Line], list[Bar]]) -> tuple[Group, ...]:
    made = [Group(f"{line.measured.alias} · {line.measured.label}", tuple(bars(line))) for line in lines]
    return tuple(group for group in made if group.bars)


def _latency(line: Line) -> list[Bar]:
    one = line.measured
    return _of_times(one.latency_p50, one.latency_p95, one.latency_avg)


def _ttft(line: Line) -> list[Bar]:
    one = line.measured
    return _of_times(one.first_token_latency_p50, one.first_token_latency_p95, one.first_token_latency_avg)


def _of_times(median: float | None, high: float | None, mean: float | None) -> list[Bar]:
    found = []
    if median is not None:
        found.append(Bar(median, f"p50 {short(median)} s"))
    elif mean is not None:
        found.append(Bar(mean, f"mean {short(mean)} s"))
    if high is not None:
        found.append(Bar(high, f"p95 {short(high)} s", strong=False))
    return found


def _rates(line: Line) -> list[Bar]:
    one, found = line.measured, []
    if one.decode_tokens_per_sec_avg is not None:
        found.append(Bar(one.decode_tokens_per_sec_avg, f"{short(one.decode_tokens_per_sec_avg)} decode"))
    if one.tokens_per_sec_avg is not None:
        words = f"{short(one.tokens_per_sec_avg)} {'with the prompt' if one.workshop else 'in all'}"
        found.append(Bar(one.tokens_per_sec_avg, words, strong=False))
    return found


def _pairs(report: Report) -> tuple[Group, ...]:
    found = []
    for pair in report.pairs:
        first, second = pair.latency_first, pair.latency_second
        if first is not None and second is not None and pair.latency_ratio is not None:
            ratio = pair.latency_ratio
            said = f"{short(1 / ratio)} × as fast" if 0 < ratio < 1 else f"{short(ratio)} × as long"
            bars = (
                Bar(first, f"{short(first)} s {pair.first}"),
                Bar(second, f"{short(second)} s {pair.second}", strong=False),
            )
            found.append(Group(f"{cut(pair.alias, 11)}: {cut(pair.second, 5)} {said}", bars))
    return tuple(found)


def drawn(chart: Chart, *, number: int) -> str:
    """
    A chart as an SVG element for a page; its colours are the page's.

    Args:
        number: tells its ids from those of the page's other charts.
    """
    longest = max(bar.value for group in chart.groups for bar in group.bars)
    parts, top = [], 0
    for group in chart.groups:
        top += _HEADING
        parts.append(f'<text x="0" y="{top - 7}" class="name">{escape(cut(group.heading, _HEADING_EM))}</text>')
        for bar in group.bars:
            share = round(bar.value / longest * _WIDEST, 2) if longest else 0.0
            look = "strong" if bar.strong else "soft"
            parts.append(f'<rect x="0.5" y="{top}" width="{max(share, 0.4)}%" height="{_BAR - 5}" class="{look}"/>')
            parts.append(
                f'<text x="{max(share, 0.4)}%" dx="6" y="{top + 12}">{escape(cut(bar.words, _WORDS_EM))}</text>'
            )
            top += _BAR
        top += _GAP
    return "\n".join([
        f'<svg width="100%" height="{top}" role="img" aria-labelledby="chart-{number} said-{number}">',
        f'<title id="chart-{number}">{escape(chart.title)}</title>',
        f'<desc id="said-{number}">{escape(chart.said)} The table above has the same figures.</desc>',
        *parts, "</svg>",
    ])  # fmt: skip


def cut(text: str, em: float) -> str:
    """
    A text that is cut off where it would be wider than so many times the height of its letters, or nearly.

    >>> cut("phi-4-mini", 5), cut("phi-4-mini", 10)
    ('phi-4-…', 'phi-4-mini')
    """
    width = 0.0
    for at, letter in enumerate(text):
        width += _wide(letter)
        if width > em:
            return text[: max(at - 1, 0)].rstrip() + "…"
    return text


def _wide(letter: str) -> float:
    if letter in "mwMW@%…—" or unicodedata.east_asian_width(letter) in "WF":
        return 1.05
    return 0.8 if letter.isupper() else 0.63

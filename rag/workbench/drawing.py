"""A calibration for people: tables for the terminal, and the cost-quality curve as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_EVERY = 4  # of the curve's points is in the table
_WORDS = {
    "fitted": "new weights",
    "rescaled": "the shipped weights with a new scale, as new ones are not better beyond chance",
    "shipped": "the shipped weights as they are",
}
_WIDTH, _HEIGHT = 720, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 690, 80, 350

# They differ in their dashes, so that no colour is needed to tell them apart.
_LINES = {
    "random": ("random, at the same rate", 'stroke-width="1" stroke-dasharray="1 4"'),
    "length": ("length only", 'stroke-width="1.5" stroke-dasharray="3 4"'),
    "default": ("default confidence", 'stroke-width="1.5" stroke-dasharray="9 4"'),
    "calibrated": ("calibrated, with its 95 % interval", 'stroke-width="2.5"'),
}
_STYLE = """<style>
.curve { color: #1a1a1a; font: 13px system-ui, sans-serif; }
.paper { fill: #ffffff; }
@media (prefers-color-scheme: dark) { .curve { color: #ececec; } .paper { fill: #1a1a1a; } }
text { fill: currentColor; }
polyline, line { stroke: currentColor; fill: none; }
</style>"""


def tables(figures: Mapping[str, Any]) -> list[str]:
    """The figures of a calibration, one line each; shares are of 0 to 1, in brackets the 95 % intervals."""
    held, wanted = figures["held_out"], f"{figures['target'] * 100:g} %"
    drafts, right = figures["drafts"], figures["right"]
    shown = [
        f"{drafts:,} drafts of {figures['model']} were judged: {right:,} right, {drafts - right:,} wrong.",
        f"What is escalated is answered by {figures['large_model']}.",
        f"Each draft is scored by weights that were fitted on other {held['by']} ({held['folds']} folds).",
        f"With log-probabilities: {_mix(figures['with_logprobs'])}.",
        f"Without log-probabilities: {_mix(figures['without_logprobs'])}.",
        "",
        f"{'order':14}{'AUROC':24}{'ECE':8}{'escalated for ' + wanted:24}APGR",
    ]
    for name, order in figures["orders"].items():
        area = figures["auroc"].get(name, {"value": 0.5, "interval": None})
        shown.append(
            f"{name:14}{_with_range(area['value'], area['interval']):24}{_text(figures['ece'].get(name)):8}"
            f"{_with_range(order['escalated_for_target'], order['interval']):24}{_text(order['apgr'])}"
        )
    shown += ["", f"{'router':24}{'escalated':12}right"]
    for name, router in figures["routers"].items():
        named = name if name.startswith("always") else f"{name} at {router['threshold']:g}"
        shown.append(f"{named:24}{_text(router['escalated']):12}{_with_range(router['right'], router['interval'])}")
    curve = figures["curve"]
    shown += ["", f"{'escalated':14}" + _row(curve["escalated"])]
    for name in _LINES:
        shown.append(f"{name:14}" + _row(curve[name]["right"]))
    shown += [f"{'  from':14}" + _row(curve["calibrated"]["low"]), f"{'  to':14}" + _row(curve["calibrated"]["high"])]
    return [line.rstrip() for line in shown]


def drawn(figures: Mapping[str, Any]) -> str:
    """
    The cost-quality curve of a calibration as an SVG document.

    All lines and words have the colour `currentColor`: dark on white, or light on black where the reader's screen is
    dark. Words are text, so they can be searched and read aloud.
    """
    curve, routers = figures["curve"], figures["routers"]
    quality: list[float] = [value for name in _LINES for key in ("right", "low", "high") for value in curve[name][key]]
    floor, top = math.floor(min(quality) * 10) / 10, math.ceil(max(quality) * 10) / 10
    floor = min(floor, top - 0.1)  # where all is the same

    def x(cost: float) -> float:
        return round(_LEFT + cost * (_RIGHT - _LEFT), 1)

    def y(value: float) -> float:
        share = (value - floor) / (top - floor)
        return round(float(_BOTTOM - share * (_BOTTOM - _TOP)), 1)

    def points(costs: Sequence[float], values: Sequence[float]) -> str:
        return " ".join(f"{x(cost)},{y(value)}" for cost, value in zip(costs, values, strict=True))

    costs = curve["escalated"]
    said = (
        f"{figures['drafts']:,} drafts of {figures['model']}; cross-validated over {figures['held_out']['by']}.",
        f"Escalated to {figures['large_model']}.",
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" class="curve" role="img">',
        "<title>Share of right answers against share of escalated drafts</title>",
        f"<desc>{escape(' '.join(said))}</desc>",
        _STYLE,
        f'<rect class="paper" width="{_WIDTH}" height="{_HEIGHT}"/>',
        f'<text x="{_LEFT}" y="22" font-weight="600">Share of right answers against share of escalated drafts</text>',
        *(f'<text x="{_LEFT}" y="{41 + 17 * at}">{escape(line)}</text>' for at, line in enumerate(said)),
    ]
    for step in range(round((top - floor) * 10) + 1):
        value = floor + step / 10
        parts += [
            f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y(value)}" y2="{y(value)}" opacity="0.2"/>',
            f'<text x="{_LEFT - 8}" y="{y(value) + 4}" text-anchor="end">{_percent(value)}</text>',
        ]
    for cost in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(f'<text x="{x(cost)}" y="{_BOTTOM + 18}" text-anchor="middle">{_percent(cost)}</text>')
    band = curve["calibrated"]
    outline = points([*costs, *reversed(costs)], [*band["low"], *reversed(band["high"])])
    parts.append(f'<polygon points="{outline}" fill="currentColor" opacity="0.13"/>')
    for name, (_, look) in _LINES.items():
        parts.append(f'<polyline {look} points="{points(costs, curve[name]["right"])}"/>')
    chosen = routers["calibrated"]
    at = f'cx="{x(chosen["escalated"])}" cy="{y(chosen["right"])}"'
    parts.append(f'<circle {at} r="5" fill="currentColor"/>')
    parts += _legend(figures)
    return "\n".join([*parts, "</svg>", ""])


def _legend(figures: Mapping[str, Any]) -> list[str]:
    chosen = figures["routers"]["calibrated"]
    parts = []
    for number, (words, look) in enumerate(_LINES.values()):
        left, below = _LEFT + number % 2 * 310, _BOTTOM + 46 + number // 2 * 20
        parts += [
            f'<line x1="{left}" x2="{left + 36}" y1="{below - 4}" y2="{below - 4}" {look}/>',
            f'<text x="{left + 46}" y="{below}">{words}</text>',
        ]
    below = _BOTTOM + 90
    text = (
        f"threshold {figures['threshold']:g}: {_percent(chosen['escalated'])} escalated, "
        f"{_percent(chosen['right'])} right; 0 % is always small, 100 % always large"
    )
    return [
        *parts,
        f'<circle cx="{_LEFT + 18}" cy="{below - 4}" r="5" fill="currentColor"/>',
        f'<text x="{_LEFT + 46}" y="{below}">{escape(text)}</text>',
    ]


def _mix(told: Mapping[str, Any]) -> str:
    if told["auroc_fitted"] is None:
        return f"{_WORDS['shipped']}, as {told['drafts']} drafts have them, too few to fit to"
    return (
        f"{_WORDS[told['kind']]} (AUROC of new ones {told['auroc_fitted']:.3f}, of the shipped ones "
        f"{told['auroc_default']:.3f}, difference {_range(told['gain_interval'])})"
    )


def _row(values: Sequence[float]) -> str:
    return "".join(f"{value:<8.2f}" for value in values[::_EVERY])


def _with_range(value: float | None, ends: Sequence[float] | None) -> str:
    return _text(value) + (f" {_range(ends)}" if ends else "")


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _range(ends: Sequence[float]) -> str:
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]"

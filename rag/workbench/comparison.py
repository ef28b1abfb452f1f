"""Two evaluations beside each other: what was, what is, and whether the difference is more than chance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import QuestionError
from rag.workbench.figures import ratios, summed_up
from rag.workbench.intervals import interval_of_difference
from rag.workbench.rows import Row
from rag.workbench.trace import is_trace, read_trace


@dataclass(frozen=True)
class Earlier:
    """
    An earlier evaluation.

    Attributes:
        figures: as `summed_up` gave them.
        rows: of a trace; empty where only the figures were kept.
    """

    figures: Mapping[str, Any]
    rows: tuple[Row, ...] = ()


def read_earlier(path: Path) -> Earlier:
    """
    An earlier `--json` output, or a trace.

    Raises:
        QuestionError: it is neither, has no row, or cannot be read.
    """
    if is_trace(path):
        was, rows = read_trace(path)
        if not rows:
            raise QuestionError(f"{path} has no rows to compare with. Name another file.")
        return Earlier(summed_up(rows, large_model=was.large_model), tuple(rows))
    try:
        figures = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise QuestionError(f"{path} cannot be compared with ({error}). Name a --json output or a trace.") from error
    if not isinstance(figures, dict) or "answer_contains" not in figures:
        raise QuestionError(f"{path} is neither the --json output of eval nor a trace. Name another file.")
    return Earlier(figures)


def compared(rows: Sequence[Row], figures: Mapping[str, Any], earlier: Earlier) -> dict[str, Any]:
    """
    What changed since an earlier evaluation.

    Args:
        rows, figures: of this one.
        earlier: of that one.

    Returns:
        `earlier`, its figures; `difference`, new less old, of each figure that both have; and `paired`, None unless
        the earlier one is a trace that shares questions: over these `questions` alone, the `difference` of each share
        and mean, and its 95 % paired bootstrap `intervals`.
    """
    new, old = flat(figures), flat(earlier.figures)
    before = {row.key: row for row in earlier.rows}
    pairs = [(row, before[row.key]) for row in rows if row.key in before]
    return {
        "earlier": {name: value for name, value in earlier.figures.items() if name != "against"},
        "difference": {name: round(new[name] - old[name], 4) for name in new if name in old},
        "paired": _paired(*zip(*pairs, strict=True)) if pairs else None,
    }


def _paired(new: Sequence[Row], old: Sequence[Row]) -> dict[str, Any]:
    difference, intervals = {}, {}
    now, before = ratios(new), ratios(old)
    for name, one in now.items():
        value, earlier = one.value, before[name].value
        between = interval_of_difference(one, before[name])
        if value is not None and earlier is not None and between is not None:
            difference[name] = round(value - earlier, 4)
            intervals[name] = [round(end, 4) for end in between]
    return {"questions": len(new), "difference": difference, "intervals": intervals}


def flat(figures: Mapping[str, Any]) -> dict[str, float]:
    """
    The numbers among figures, by dotted names; intervals, orders and what was compared before are no figures.

    >>> flat({"f1": 0.5, "auroc": {"length": 0.4, "logprob": None}, "large_model": "x"})
    {'f1': 0.5, 'auroc.length': 0.4}
    """
    found: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping) and name not in ("intervals", "orders", "against"):
            found |= {f"{name}.{key}": inner for key, inner in flat(value).items()}
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            found[name] = value
    return found


def lines(figures: Mapping[str, Any]) -> list[str]:
    """Figures for people, one a line; beside each its interval and what it was before, where these are known."""
    against = figures.get("against")
    intervals = figures.get("intervals", {})
    was = flat(against["earlier"]) if against else {}
    paired = (against and against["paired"]) or {"difference": {}, "intervals": {}}
    shown = []
    for name, value in _in_order(figures):
        sure = intervals.get(name)
        line = f"{name:32} {_text(value):>10}"
        line += f"  {_range(sure):18}" if sure else " " * 20
        if name in was and isinstance(value, (int, float)):
            line += f"  was {_text(was[name]):>10}  {value - was[name]:+10.4g}"
            if name in paired["intervals"]:
                line += f"  of both {paired['difference'][name]:+8.4g}  {_range(paired['intervals'][name])}"
        shown.append(line.rstrip())
    if against and against["paired"]:
        shown.append(f"'of both' is paired over the {against['paired']['questions']:,} questions that both asked.")
    return shown


def _in_order(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in figures.items():
        if name in ("intervals", "orders", "against"):
            continue
        if isinstance(value, Mapping):
            found += [(f"{name}.{key}", inner) for key, inner in _in_order(value)]
        else:
            found.append((name, value))
    return found


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}" if abs(value) >= 1_000 else f"{value:.4g}"


def _range(ends: Sequence[float]) -> str:
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]"

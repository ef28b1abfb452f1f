"""The file of a comparison that a person fills in with marks, and what is read back from it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag.errors import FileError
from rag.workbench.given import read_given
from rag.workbench.marks import NAMES, Marks, mark_of

#: Who marked what is filled in.
BY_HAND = "by hand"

_HOW = (
    "Replace each null under scores with a whole number from 1 (poor) to 5 (excellent), then run: "
    "python -m rag compare --scores THIS_FILE"
)
_MOST_BYTES = 50_000_000
_MOST = 1e12  # nothing that is measured comes near


def to_fill_in(rows: Sequence[dict[str, Any]]) -> str:
    """The file for these rows of a comparison, as text: each answer with a null for each mark."""
    empty = Marks().to_json()
    answered = [
        {**row, "scores": row.get("scores") or empty, "judge": row.get("judge") or BY_HAND} if "text" in row else row
        for row in rows
    ]
    return json.dumps({"how": _HOW, "rows": answered}, ensure_ascii=False, indent=1) + "\n"


def read_filled_in(path: Path) -> list[dict[str, Any]]:
    """
    The rows of a file that was filled in, with their marks; one that is left null stays null.

    Raises:
        FileError: the file cannot be read, or a value in it is wrong; field and value are named.
    """
    found = read_given(
        path,
        most_bytes=_MOST_BYTES,
        kind="annotation file",
        get="Make one with --annotate FILE.",
        shape="Look for a missing comma or quote.",
    )
    rows = found.get("rows") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not rows:
        raise FileError(f'{path} has no list of "rows". Make one with --annotate FILE.')
    return [_row(row, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]


def _row(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise FileError(f"{where} must be an object, was: {_shown(row)}")

    def check(name: str, wanted: str, right: bool) -> None:
        if not right:
            raise FileError(f'{where}: "{name}" must be {wanted}, was: {_shown(row.get(name))}')

    check("alias", "the name of a model", isinstance(row.get("alias"), str) and bool(row["alias"].strip()))
    failed = "error" in row
    if failed:
        check("error", "a text", isinstance(row["error"], str))
    for name in _TEXTS:
        needed = not failed and name in ("text", "sample")
        wanted = "a text" if needed else "a text or null"
        check(name, wanted, isinstance(row.get(name), str) or (row.get(name) is None and not needed))
    for name in _NUMBERS:
        check(name, "a number or null", row.get(name) is None or _is_number(row[name]))
    for name in _COUNTS:
        right = row.get(name) is None or (_is_number(row[name]) and row[name] == int(row[name]))
        check(name, "a whole number or null", right)
    check("judged_itself", "true, false or null", row.get("judged_itself") in (None, True, False))
    for name, value in row.items():
        check(str(name), "without numbers that JSON has not", _is_finite(value))
    if failed:
        return row
    counts = {name: int(row[name]) for name in _COUNTS if row.get(name) is not None}
    return {**row, **counts, "scores": _scores(row.get("scores"), where)}


_TEXTS = ("text", "sample", "model", "judge", "where", "label", "finish", "tokens_counted", "status")
_NUMBERS = ("latency_sec", "first_token_latency_sec", "decode_tokens_per_sec", "speed_up", "cost_cloud_equivalent")
_COUNTS = ("tokens", "prompt_tokens", "completion_tokens", "reasoning_tokens", "token_delta")


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= _MOST  # NaN is neither


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _shown(value: Any) -> str:
    try:
        return str(value)[:80]
    except ValueError:  # a number with thousands of digits
        return "a number that is too long to show"


def _scores(scores: Any, where: str) -> dict[str, int | None]:
    if not isinstance(scores, dict):
        raise FileError(f'{where}: "scores" must be an object with {", ".join(NAMES)}, was: {_shown(scores)}')
    if unknown := [name for name in scores if name not in NAMES]:
        raise FileError(f'{where}: "scores" has {unknown[0]!r}; it may have {", ".join(NAMES)}.')
    marks: dict[str, int | None] = {}
    for name in NAMES:
        value = scores.get(name)
        marks[name] = mark_of(value)
        if value is not None and marks[name] is None:
            raise FileError(f"{where}: {name} must be a whole number from 1 to 5, or null, was: {_shown(value)}")
    return marks

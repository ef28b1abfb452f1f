"""The file of a comparison that a person fills in with marks, and what is read back from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag.errors import FileError
from rag.workbench.marks import NAMES, Marks, mark_of

#: Who marked what is filled in.
BY_HAND = "by hand"

_HOW = (
    "Replace each null under scores with a whole number from 1 (poor) to 5 (excellent), then run: "
    "python -m rag compare --scores THIS_FILE"
)
_MOST_BYTES = 50_000_000


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
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise FileError(f"{path} has more than {_MOST_BYTES:,} bytes; it is no annotation file.")
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror}). Make one with --annotate FILE.") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is not JSON in UTF-8 ({error}). Look for a missing comma or quote.") from error
    rows = found.get("rows") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not rows:
        raise FileError(f'{path} has no list of "rows". Make one with --annotate FILE.')
    return [_row(row, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]


def _row(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise FileError(f"{where} must be an object, was: {str(row)[:80]}")
    if not isinstance(row.get("alias"), str) or not row["alias"]:
        raise FileError(f'{where}: "alias" must be the name of a model, was: {str(row.get("alias"))[:80]}')
    if isinstance(row.get("error"), str):
        return row
    for name in ("text", "sample"):
        if not isinstance(row.get(name), str):
            raise FileError(f'{where}: "{name}" must be a text, was: {str(row.get(name))[:80]}')
    for name in _NUMBERS:
        value = row.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise FileError(f'{where}: "{name}" must be a number or null, was: {str(value)[:80]}')
    return {**row, "scores": _scores(row.get("scores"), where)}


_NUMBERS = (
    "latency_sec", "tokens", "first_token_latency_sec", "decode_tokens_per_sec", "prompt_tokens", "speed_up",
    "token_delta", "cost_cloud_equivalent",
)  # fmt: skip


def _scores(scores: Any, where: str) -> dict[str, int | None]:
    if not isinstance(scores, dict):
        raise FileError(f'{where}: "scores" must be an object with {", ".join(NAMES)}, was: {str(scores)[:80]}')
    if unknown := [name for name in scores if name not in NAMES]:
        raise FileError(f'{where}: "scores" has {unknown[0]!r}; it may have {", ".join(NAMES)}.')
    marks: dict[str, int | None] = {}
    for name in NAMES:
        value = scores.get(name)
        marks[name] = mark_of(value)
        if value is not None and marks[name] is None:
            raise FileError(f"{where}: {name} must be a whole number from 1 to 5, or null, was: {str(value)[:80]}")
    return marks

"""JSON (.json, .jsonl): flattened to `path: value`, a record together in one list item."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rag.readers.base import Extract
from rag.readers.encodings import decode
from rag.readers.markdown import Markdown

_MOST_PAIRS = 60
_RECORD_CHARACTERS = 5000  # an element of a list stays in one piece
_GROUP_CHARACTERS = 500  # neighbouring values do not, if they are many: a quotation should be short


def read(raw: bytes) -> Extract:
    """
    JSON. What is no valid JSON, or too deep, is read as plain text: it is one, and can be searched.

    >>> read(b'[{"name": "Router", "at": {"port": 8000}}]').text
    '- name: Router; at.port: 8000'
    """
    text = decode(raw)
    page = Markdown()
    try:
        _write(page, json.loads(text), "", 1)
    except (ValueError, RecursionError):
        return _lines(text)  # or JSON Lines under this name
    return page.extract()


def read_lines(raw: bytes) -> Extract:
    """JSON Lines: one record on each line."""
    return _lines(decode(raw))


def _lines(text: str) -> Extract:
    page = Markdown()
    for line in text.split("\n"):
        if line.strip():
            try:
                value = json.loads(line)
                if not isinstance(value, dict | list):
                    return Extract(text)
                _write(page, value, "", 1, is_record=True)
            except (ValueError, RecursionError):
                return Extract(text)
    return page.extract()


def _write(page: Markdown, value: Any, path: str, level: int, *, is_record: bool = False) -> None:
    """One item if it is small enough; otherwise its parts, under a heading where they have parts themselves."""
    pairs = _together(value, path, is_record=is_record)
    if pairs is not None:
        page.item("; ".join(f"{name}: {shown}" if name else shown for name, shown in pairs))
    elif isinstance(value, dict):
        for key, one in value.items():
            if isinstance(one, dict | list) and _together(one, str(key)) is None:
                page.heading(level, str(key))
                _write(page, one, "", min(level + 1, 6))
            else:
                _write(page, one, f"{path}.{key}" if path else str(key), level)
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        for one in value:
            _write(page, one, "", level, is_record=True)
    else:
        for name, shown in _pairs(value, path):  # one long text, or one long list of numbers
            page.item(f"{name}: {shown}" if name else shown)


def _together(value: Any, path: str, *, is_record: bool = False) -> list[tuple[str, str]] | None:
    """The pairs of path and value in it, if they make one item; None if not."""
    if _holds_records(value):
        return None
    if isinstance(value, dict) and not is_record and any(_holds_records(one) for one in value.values()):
        return None
    pairs: list[tuple[str, str]] = []
    left = _RECORD_CHARACTERS if is_record else _GROUP_CHARACTERS
    for pair in _pairs(value, path):
        pairs.append(pair)
        left -= len(pair[0]) + len(pair[1])
        if len(pairs) > _MOST_PAIRS or left < 0:
            return None
    return pairs


def _holds_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict | list)


def _pairs(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _pairs(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        if all(not isinstance(one, dict | list) for one in value):
            yield path, ", ".join(_shown(one) for one in value)
        else:
            for number, one in enumerate(value, start=1):
                yield from _pairs(one, f"{path}.{number}" if path else str(number))
    elif value is not None and value != "":
        yield path, _shown(value)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

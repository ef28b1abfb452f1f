"""The report on the documents: every file of the folder, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rag.catalogue import Entry
from rag.shelf import Shelf

COMMAND = "docs"
_MOST_NAMED, _LONGEST_NAME = 3, 32
_MOST_ROWS = 500
_MOST_LINES = 50
_LONGEST_FIND = 200


@dataclass(frozen=True)
class Report:
    """
    The report on one state of the documents.

    Attributes:
        text: the summary, and what was left out, in Markdown: for readers, copies and pages that draw no table.
        props: the table for `DocsReport.jsx`, at most 500 files, and the counts of the others.
    """

    text: str
    props: dict[str, Any]


def asked_for(text: str, command: str | None, *, name: str = COMMAND, most: int = _LONGEST_FIND) -> str | None:
    """
    The words behind a command, at most so many characters; None if something else was asked.

    >>> asked_for("/docs old reports", None), asked_for("", "docs"), asked_for("/docsify?", None)
    ('old reports', '', None)
    """
    first, _, rest = text.strip().partition(" ")
    if first == f"/{name}":
        return rest.strip()[:most]
    return text.strip()[:most] if command == name else None


def report(shelf: Shelf, *, find: str = "", own: Collection[str] = ()) -> Report:
    """
    Make the report.

    Args:
        shelf: the documents, with those of the conversation.
        find: words that a file's line must have; empty: all files.
        own: the names of the conversation's own documents.
    """
    wanted = find.casefold().split()
    groups: dict[str, list[Entry]] = {"left": [], "own": [], "copies": [], "indexed": []}
    for entry in shelf.entries.values():
        if wanted and not _has(entry, wanted):
            continue
        groups[_group(entry, own)].append(entry)
    room = _MOST_ROWS
    rows: dict[str, list[list[str]]] = {}
    for name, entries in groups.items():
        rows[name] = [[entry.name, _fate(entry)] for entry in entries[:room]]
        room -= len(rows[name])
    counts = {name: len(entries) for name, entries in groups.items()}
    props = {"summary": shelf.summary, "find": find, "rows": rows, "counts": counts}
    return Report("\n\n".join(_paragraphs(shelf, find, groups)), props)


def unread(shelf: Shelf) -> list[str]:
    """
    A sentence on the files that look like documents and could not be read; none if there are none.

    A file that nobody has a reader for, a picture say, is in the report only.
    """
    files = [file for file in shelf.skipped if not file.reason.startswith("no reader for")]
    if not files:
        return []
    named = ", ".join(f"{_short(file.name)} ({file.reason.partition(':')[0]})" for file in files[:_MOST_NAMED])
    more = f" and {len(files) - _MOST_NAMED} more" if len(files) > _MOST_NAMED else ""
    return [f"Could not be read: {named}{more}. Type /{COMMAND} to see what to do."]


def _short(name: str) -> str:
    last = name.rstrip("/").rpartition("/")[2]
    return last if len(last) <= _LONGEST_NAME else f"{last[: _LONGEST_NAME - 12]}…{last[-11:]}"


def code(name: str) -> str:
    """
    A file's name in Markdown, as it is, whatever marks it has in it.

    >>> code("a.md"), code("a`b.md")
    ('`a.md`', '`` a`b.md ``')
    """
    longest = max(map(len, re.findall("`+", name)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{name}{space}{fence}"


def plain(text: str) -> str:
    """A text in Markdown that reads as it stands, without marks."""
    return re.sub(r"([\\`*_\[\]<>~|#!])", r"\\\1", " ".join(text.split()))


def _paragraphs(shelf: Shelf, find: str, groups: dict[str, list[Entry]]) -> list[str]:
    parts = [f"{shelf.summary[:1].upper()}{shelf.summary[1:]}."]
    parts += [f"⚠ {plain(shelf.fault)}"] if shelf.fault else []
    if find:
        found = sum(map(len, groups.values()))
        parts.append(f"{found} of these files match “{plain(find)}”.")
    left = groups["left"]
    lines = [f"- {code(entry.name)}: {plain(entry.reason)}" for entry in islice(left, _MOST_LINES)]
    lines += [f"- and {len(left) - _MOST_LINES} more"] if len(left) > _MOST_LINES else []
    return [*parts, *(["\n".join(lines)] if lines else [])]


def _group(entry: Entry, own: Collection[str]) -> str:
    if entry.name in own:
        return "own"
    if entry.reason:
        return "left"
    return "copies" if entry.copy_of else "indexed"


def _fate(entry: Entry) -> str:
    return entry.reason or entry.fate


def _has(entry: Entry, wanted: list[str]) -> bool:
    line = f"{entry.name} {entry.title} {entry.fate}".casefold()
    return all(word in line for word in wanted)

"""The rows of `bench` and `compare` as tables for people, at most 100 places wide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rag.commands.columns import readable, table
from rag.workbench.marks import NAMES


def bench_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows of `bench`, and below them what went wrong and by how much the workshop's count overstates."""
    if not rows:
        return ["Nothing was measured."]
    columns: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("model", lambda row: readable(row["alias"])),
        ("status", lambda row: row["status"]),
        ("avg s", lambda row: _number(row["latency_avg"], 2)),
        ("p50", lambda row: _number(row["latency_p50"], 2)),
        ("p95", lambda row: _number(row["latency_p95"], 2)),
        ("TTFT s", lambda row: _number(row["first_token_latency_avg"], 3)),
        ("p95", lambda row: _number(row["first_token_latency_p95"], 3)),
        ("tok/s", lambda row: _number(row["tokens_per_sec_avg"], 1)),
        ("decode", lambda row: _number(row["decode_tokens_per_sec_avg"], 1)),
        ("MB", lambda row: _number(row["memory_mb"], 0)),
        ("facets", lambda row: _number(row["facets"], 2)),
    ]
    shown = [[made(row) for _, made in columns] for row in rows]
    lines = table([head for head, _ in columns], shown, texts=2)
    lines += [f"{row['alias']}: {row['error']}" for row in rows if row["error"]]
    if any(row["tokens_counted"] == "pieces" for row in rows):
        names = ", ".join(row["alias"] for row in rows if row["tokens_counted"] == "pieces")
        lines.append(f"Tokens counted by us, as the server did not say how many: {names}.")
    return _readable([*lines, *_answered_as(rows), *_overstated(rows)])


def _answered_as(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Where the server named another model than the one that was asked for: it may be a stand-in."""
    return [
        f"{row['alias']}: the server says that {row['model']} answered."
        for row in rows
        if isinstance(row.get("model"), str) and not _is_named(row["alias"], row["model"])
    ]


def _is_named(alias: str, model: str) -> bool:
    known = [one.casefold() for one in (alias, model)]
    return known[0] in known[1] or known[1] in known[0]


def _overstated(rows: Sequence[dict[str, Any]]) -> list[str]:
    pairs = [(row, row["workshop_tokens_per_sec_avg"], row["tokens_per_sec_avg"]) for row in rows]
    told = [(theirs / ours, row, theirs, ours) for row, theirs, ours in pairs if theirs and ours and theirs > ours]
    if not told:
        return []
    times, row, theirs, ours = max(told, key=lambda one: one[0])
    return [
        f"Counting the prompt's tokens too, as the workshop did, would say {theirs:.1f} tok/s",
        f"instead of {ours:.1f}, {times:.1f} times as many: {row['alias']}.",
    ]


def answers_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The answers of `compare`, each under its model's name."""
    lines = []
    for row in rows:
        said = row.get("text") or row.get("sample")
        if said:
            lines += [f"── {row['alias']} ──", said, ""]
    return _readable(lines)


def comparison_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows of `compare`, and below them what went wrong and what the columns mean."""
    answered = [row for row in rows if "error" not in row]
    failed = [f"{row['alias']}: {row['error']}" for row in rows if "error" in row]
    if not answered:
        return _readable(failed) or ["Nothing was asked."]
    marked = any(any((row.get("scores") or {}).values()) for row in answered)
    head = ["model", "seconds", "TTFT s", "tokens", "tok/s", "speed-up", "Δ tokens", "US$"]
    head += [name[:5] + "." for name in NAMES] if marked else []
    shown = []
    for row in answered:
        cost = row.get("cost_cloud_equivalent")
        line = [
            readable(row["alias"]),
            _number(row.get("latency_sec"), 2),
            _number(row.get("first_token_latency_sec"), 3),
            _number(row.get("tokens"), 0),
            _number(row.get("decode_tokens_per_sec"), 1),
            _number(row.get("speed_up"), 2),
            "–" if row.get("token_delta") is None else f"{row['token_delta']:+d}",
            "–" if cost is None else f"{cost:.6f}",
        ]
        scores = row.get("scores") or {}
        shown.append([*line, *([_number(scores.get(name), 0) for name in NAMES] if marked else [])])
    last = rows[-1]["alias"]
    lines = [*table(head, shown), *failed, *_answered_as(answered)]
    if len(answered) > 1 and any(row.get("speed_up") is not None for row in answered):
        lines.append(f"speed-up and Δ tokens are against {last}.")
    lines.append("US$ is what it would cost in a cloud at the price of the model's card, else at")
    lines.append("RAG_CLOUD_PRICE_IN and RAG_CLOUD_PRICE_OUT.")
    judges = {row.get("judge") for row in answered if row.get("judge")}
    if marked and judges:
        lines.append(f"Marks from 1 to 5: {', '.join(sorted(f'{one}' for one in judges))}.")
    own = [row["alias"] for row in answered if row.get("judged_itself")]
    if marked and own:
        lines.append(f"Marked its own answer: {', '.join(own)}.")
    return _readable(lines)


def _readable(lines: Sequence[str]) -> list[str]:
    # Names, models and errors are what servers say.
    return [readable(line) for line in lines]


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"

"""What the tests of reports share: rows as bench and compare write them, and evaluations made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rag.workbench.recordings import read_recordings
from rag.workbench.report import Report, reported
from rag.workbench.rows import Row
from rag.workbench.selection import Prices
from rag.workbench.trace import Fingerprint

#: A dollar a million in, ten out: a thousand prompt tokens and a hundred of the answer are 0.2 cents.
PRICES = Prices(1.0, 10.0, "the test")


def bench(alias: str = "phi-4-mini", latency: float | None = 2.0, **values: Any) -> dict[str, Any]:
    """A row of bench, of five rounds."""
    latencies = {"avg": 1.0, "p50": 0.95, "p95": 1.2, "min": 0.9, "max": 1.25}
    times = {f"latency_{name}": latency and latency * part for name, part in latencies.items()}
    row: dict[str, Any] = {
        "alias": alias, "tokens_per_sec_avg": 50.0, "rounds": 5, "first_token_latency_avg": 0.25, "status": "ok",
        "error": None, "label": "cpu", "model": f"{alias}-id", "where": "a server", "rounds_ok": 5,
        "decode_tokens_per_sec_avg": 60.0, "workshop_tokens_per_sec_avg": 500.0, "prompt_tokens_avg": 1000.0,
        "completion_tokens_avg": 100.0, "tokens_counted": "server", "memory_mb": 900.0, "disk_mb": None,
        "facets": None, "prompts": 1, "max_tokens": 120, "temperature": 0.2, "sample": "Hello.",
        "when": "2026-11-20T10:00:00Z", "machine": "a laptop", **times,
    }  # fmt: skip
    return row | values


def compare(alias: str = "phi-4-mini", latency: float = 2.0, **values: Any) -> dict[str, Any]:
    """A row of compare."""
    return {"alias": alias, "latency_sec": latency, "tokens": 40, "sample": "Hello.", "prompt_tokens": 100, **values}


def write(path: Path, value: Any) -> Path:
    """A file with this as JSON, or with this text."""
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def trace(path: Path, rows: Sequence[Row], *, mode: str = "hybrid", models: Sequence[str] = ("small", "large")) -> Path:
    """A trace with these rows."""
    large = models[1] if mode == "hybrid" and len(models) > 1 else None
    first = {"trace": 1, **asdict(Fingerprint(mode, tuple(models), "s", "d", "c", large))}
    return write(path, "".join(f"{json.dumps(line)}\n" for line in (first, *(row.to_json() for row in rows))))


def report_on(*paths: Path, **options: Any) -> Report:
    """The report on files."""
    options = {"prices": PRICES, "slm": None, "llm": "gpt-oss-20b", **options}
    return reported(read_recordings(paths), **options)


def report_of(folder: Path, *rows: dict[str, Any], **options: Any) -> Report:
    """The report on one file of rows."""
    return report_on(write(folder / "rows.json", list(rows)), **options)

"""What the benchmarks share: QA files, figures, the command line, and the circumstances of a run."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_qa(path: Path) -> list[dict[str, Any]]:
    """The rows of a QA file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def describe_run(command: str) -> dict[str, Any]:
    """The circumstances that go into a result file: command, commit, date and machine."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "command": command,
        "commit": commit.stdout.strip(),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of some values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def own_command() -> str:
    """How the running benchmark was started, as one would type it; where its results go is left out."""
    module = Path(sys.argv[0]).stem
    arguments = iter(sys.argv[1:])
    kept: list[str] = []
    for argument in arguments:
        if argument == "--out":
            next(arguments, None)
        elif not argument.startswith("--out="):
            kept.append(argument)
    return " ".join([f"python -m benchmarks.{module}", *kept])


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Some rows as text in columns, for people."""
    cells = [[str(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def conclude(results: dict[str, Any], out: Path | None) -> None:
    """End a benchmark: one JSON line for scripts, and the same in a file if one was asked for."""
    whole = describe_run(own_command()) | {"load_average": round(os.getloadavg()[0], 2)} | results
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(whole), flush=True)


def rounded(values: dict[str, float], digits: int = 2) -> dict[str, float]:
    """The same figures with fewer digits."""
    return {name: round(value, digits) for name, value in values.items()}


def arguments(why: str, **sizes: int) -> argparse.Namespace:
    """The command line of a benchmark: `--out`, and one option for each size, with its full value as default."""
    parser = argparse.ArgumentParser(description=why, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, full in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=full, help=f"default: {full}")
    parser.add_argument("--out", type=Path, help="keep the results in this file")
    return parser.parse_args()

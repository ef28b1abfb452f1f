"""What the benchmarks share: reading QA files, matching answers, and noting the circumstances of a run."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import string
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_qa(path: Path) -> list[dict[str, Any]]:
    """The rows of a QA file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def normalised(text: str) -> str:
    """As SQuAD matches: lower case, no punctuation, no articles, single spaces."""
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def contains_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether a text contains one of the gold answers."""
    said = f" {normalised(text)} "
    return any(normalised(answer) and f" {normalised(answer)} " in said for answer in answers)


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

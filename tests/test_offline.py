"""The product in a world without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALONE = ["unshare", "-rn", "sh", "-c"]


def can_be_alone() -> bool:
    """Whether this machine lets a process have a network of its own, with nothing in it but loopback."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run([*ALONE, "ip link set lo up"], capture_output=True, check=False).returncode == 0


@pytest.mark.model
@pytest.mark.skipif(not can_be_alone(), reason="needs Linux with unshare and ip, and the right to use them")
def test_a_question_is_answered_without_any_network(docs: Path) -> None:
    """The server side asks no other machine: there is none, and nothing fails or waits for one."""
    command = (
        f"ip link set lo up; exec {sys.executable} -m rag ask 'Which port does the chat listen on?' "
        f"--docs {docs} --json"
    )
    done = subprocess.run([*ALONE, command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "8000" in json.loads(done.stdout)["answer"]

"""How the chat starts, and how it refuses to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`chainlit run` until it gives up by itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAG_")}
    return subprocess.run(
        [sys.executable, "-m", "chainlit", "run", str(ROOT / "app.py"), "-h", *arguments],
        cwd=folder, env={**kept, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        pytest.param({"RAG_K": "0"}, "RAG_K must be at least 1, was: 0", id="out of range"),
        pytest.param({"RAG_DOC_DIR": "x"}, "There is no setting RAG_DOC_DIR. Did you mean RAG_DOCS_DIR?", id="unknown"),
        pytest.param({"RAG_SLM_GGUF": "/no/m.gguf"}, "RAG_SLM_GGUF: no file /no/m.gguf", id="no model file"),
    ],
)
def test_wrong_settings_are_said_at_start_without_a_traceback(
    tmp_path: Path, environment: dict[str, str], sentence: str
) -> None:
    """What is wrong, with the value, and where to look; exit status 1."""
    done = start(tmp_path, **environment)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "docs/settings.md" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_taken_port_is_said_at_start_with_another_to_try(tmp_path: Path) -> None:
    """Chainlit alone would end in silence, after loading everything."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = start(tmp_path, "--port", str(port))
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1 cannot be used (Address already in use)." in done.stderr
    assert f"--port {port + 1}" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout

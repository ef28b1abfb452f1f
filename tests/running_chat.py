"""A chat in a process of its own: for the browser tests, the benchmarks and the README's picture."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
APP = ROOT / "app.py"
_START_S = 120.0


@dataclass(frozen=True)
class Chat:
    """
    A running chat.

    Attributes:
        url: where its page is.
        log: what it printed.
        pid: of the process that was started; the model's process is a child of it.
        started: when it was started, by `time.perf_counter`.
        healthy_s: seconds from then until `/health` answered.
    """

    url: str
    log: Path
    pid: int
    started: float
    healthy_s: float


def prepare_folder(folder: Path) -> None:
    """Make a folder to run chats in: the page's files, but no `.env` and nobody's settings."""
    shutil.copytree(ROOT / ".chainlit", folder / ".chainlit")
    for part in ("public", "chainlit.md"):
        (folder / part).symlink_to(ROOT / part)


@contextmanager
def running_chat(folder: Path, app: Path = APP, *, host: str = "localhost", **settings: str) -> Iterator[Chat]:
    """Start an app as `chainlit run` does, in a prepared folder, and end it by its process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAG_")}
    command = [sys.executable, "-m", "chainlit", "run", str(app), "-h", "--port", str(port)]
    log = folder / "chat.log"
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env={**kept, "PYTHONPATH": str(ROOT), **settings}, stdout=output, stderr=output
        )
    try:
        healthy = _wait_until_healthy(f"http://127.0.0.1:{port}", process, log, started + _START_S)
        yield Chat(f"http://{host}:{port}", log, process.pid, started, healthy - started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path, deadline: float) -> float:
    while process.poll() is None and time.perf_counter() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                return time.perf_counter()
        except OSError:
            time.sleep(0.005)
    raise RuntimeError(f"The chat did not start:\n{log.read_text(encoding='utf-8')}")

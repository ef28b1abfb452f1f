"""Who may reach the socket; a first look, through the real server in this process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.running_chat import prepare_folder, running_chat

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running chat whose models are not there."""
    folder = tmp_path_factory.mktemp("chat")
    prepare_folder(folder)
    with running_chat(folder, RAG_SLM_URL="http://127.0.0.1:9") as chat:
        yield chat.url


@pytest.mark.parametrize(
    ("origin", "status"),
    [("own", 200), ("http://evil.example", 400), ("null", 400), ("http://localhost:1", 400)],
)
def test_only_our_own_page_may_open_a_connection(url: str, origin: str, status: int) -> None:
    """Another site in the same browser must not talk to the chat."""
    headers = {"Origin": url if origin == "own" else origin}
    got = httpx2.get(f"{url}/ws/socket.io/?EIO=4&transport=polling", headers=headers)
    assert got.status_code == status


@pytest.mark.parametrize(
    ("session_id", "answer"), [("../../x", "refused"), ("2f1c0a3e-7f53-4c1e-9c5e-0d6a1c9f1b11", '40{"sid"')]
)
def test_a_session_id_that_is_none_is_refused(url: str, session_id: str, answer: str) -> None:
    """Checked before anything is made of it."""
    opened = httpx2.get(f"{url}/ws/socket.io/?EIO=4&transport=polling").text
    connection = opened.split('"sid":"')[1].split('"')[0]
    path = f"{url}/ws/socket.io/?EIO=4&transport=polling&sid={connection}"
    httpx2.post(path, content=f'40{{"sessionId":"{session_id}","clientType":"webapp"}}')
    assert answer in httpx2.get(path).text


def test_the_modules_of_the_answering_part_start_without_the_page() -> None:
    """`python -m rag` must not pay for Chainlit."""
    code = "import sys, rag.__main__; sys.exit(any(name.startswith('chainlit') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

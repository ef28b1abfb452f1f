"""The way to a Qdrant server: what is said when something is wrong with it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from rag.errors import SearchError
from rag.qdrant import QdrantIndex, Server
from tests.qdrant_kit import ROOT, core_behind_http, needs_core, refuse, way_to_it  # noqa: F401 - fixtures

pytestmark = needs_core
KEY = SecretStr("sk-very-secret")


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_nobody_there() -> None:
    """The URL and the remedy, without the password that was in it."""
    port = free_port()
    with pytest.raises(SearchError) as caught:
        QdrantIndex.opened(f"http://user:pass@127.0.0.1:{port}", "docs", chunk_words=150, api_key=KEY)
    assert str(caught.value) == f"No Qdrant server at http://127.0.0.1:{port}. Start it, or set RAG_QDRANT_URL."


@pytest.mark.parametrize(
    ("status", "said", "sentence"),
    [
        (403, "Forbidden", "refuses the key (status 403). Set RAG_QDRANT_API_KEY to one that may read and write."),
        (500, "disk is full", "answered with status 500: disk is full"),
        (422, "", "answered with status 422: no reason given"),
    ],
)
def test_what_a_server_says_is_said(double: Any, server: Server, status: int, said: str, sentence: str) -> None:
    """With its URL."""
    double.on_request = refuse(status, said)
    with pytest.raises(SearchError) as caught:
        server.check()
    assert str(caught.value) == f"Qdrant at {double.url} {sentence}"


@pytest.mark.parametrize("key", [None, SecretStr("wrong-key")], ids=["none", "wrong"])
def test_a_wrong_key_is_named_by_its_setting_alone(double: Any, key: SecretStr | None) -> None:
    """No message shows a key."""
    double.api_key = KEY.get_secret_value()
    with pytest.raises(SearchError, match="RAG_QDRANT_API_KEY") as caught:
        QdrantIndex.opened(double.url, "docs", chunk_words=150, api_key=key)
    assert "wrong-key" not in str(caught.value)
    server = Server(double.url, api_key=KEY)
    server.check()
    server.close()


def test_a_server_that_hangs_is_given_up(double: Any) -> None:
    """After the time that one request may take, twice."""
    held = threading.Event()
    double.on_request = lambda method, path: (held.wait(10), None)[1]
    server = Server(double.url, timeout_s=1, pause=lambda seconds: None)
    with pytest.raises(SearchError, match="gave no answer within 1 s"):
        server.ask(lambda client: client.info(), tries=1)
    held.set()
    server.close()


def test_an_old_server_is_refused(double: Any, server: Server) -> None:
    """Both versions are named."""
    double.core.version = "1.15.4"
    with pytest.raises(SearchError, match=r"is version 1\.15\.4; at least 1\.16 is needed"):
        server.check()


def test_what_is_no_qdrant_is_told(docs: Path) -> None:
    """Another server at the URL."""
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Page(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        server = Server(f"http://127.0.0.1:{page.server_port}")
        with pytest.raises(SearchError, match="is no Qdrant server"):
            server.check()
        server.close()
        page.shutdown()


def test_without_the_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chat itself does not need it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SearchError, match=r"pip install -r requirements-scale\.txt, or set RAG_INDEX=bm25"):
        Server("http://127.0.0.1:6333")


def test_importing_the_engine_does_not_import_the_client() -> None:
    """Which takes most of a second, and may not be there."""
    program = "import sys, rag.qdrant; sys.exit('qdrant_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0

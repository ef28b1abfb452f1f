"""What the tests share: an event loop for async tests, small documents, and an assistant on scripted models."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from rag.assistant import Assistant, build_assistant
from rag.backends.choose import Models
from rag.backends.scripted import ScriptedBackend
from rag.settings import Settings

PORTS = """# Ports

The chat listens on port 8000. Hold the reset button for ten seconds to restore the factory settings.

## Firewall

Open the firewall for TCP connections on port 8000.
"""

GARDEN = "Tomatoes need six hours of sun every day. Water the tomatoes in the morning.\n"


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio alone, as Chainlit does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The settings of whoever runs the tests are not the tests' settings."""
    for name in list(os.environ):
        if name.startswith(("RAG_", "BENCH_", "COMPARE_")) and name != "RAG_CHROMIUM":
            monkeypatch.delenv(name)
    for name in (
        "FOUNDRY_LOCAL_ENDPOINT",
        "SLM_ALIAS",
        "LLM_ALIAS",
        "RETRY_ON_FAIL",
        "RETRY_BACKOFF",
        "HF_ENDPOINT",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAG_INDEX_DIR", "none")
    monkeypatch.setenv("RAG_MODELS_DIR", "none")
    monkeypatch.setenv("RAG_CALIBRATION", "none")  # whatever lies in the checkout


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with two documents."""
    folder = tmp_path / "docs"
    (folder / "home").mkdir(parents=True)
    (folder / "ports.md").write_text(PORTS, encoding="utf-8")
    (folder / "home" / "garden.txt").write_text(GARDEN, encoding="utf-8")
    return folder


@pytest.fixture
def make_assistant(docs: Path) -> Iterator[Callable[..., Assistant]]:
    """Builds assistants over `docs` with the given models; their settings are keyword arguments."""

    def make(slm: ScriptedBackend, llm: ScriptedBackend | None = None, **settings: Any) -> Assistant:
        no_llm = "" if llm else "There is no large model: set RAG_LLM_URL."
        return build_assistant(Settings(docs_dir=docs, **settings), models=Models(slm, llm, no_llm))

    yield make


async def events_of(generator: AsyncGenerator[Any, None]) -> list[Any]:
    """All that a generator yields, within a bounded time."""
    async with asyncio.timeout(30), aclosing(generator) as events:
        return [event async for event in events]


@pytest.fixture
def nothing_on_the_usual_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs on this machine."""
    monkeypatch.setattr("rag.backends.foundry.USUAL_URL", "http://127.0.0.1:9")

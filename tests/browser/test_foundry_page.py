"""Foundry Local behind the page: a service that behaves like it, and the real runtime where it has a model."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import StartChat
from tests.browser.test_chat import ANSWERS, QUESTION, ask, open_chat, wait_until
from tests.foundry_server import PHI, FoundryServer

pytestmark = pytest.mark.browser

# A folder with a model in ONNX, as benchmarks/onnx_model.py makes it. It is a stand-in for phi-4-mini.
ONNX = Path(os.environ.get("RAG_TEST_ONNX", "nowhere"))
GOOD = "Hold the reset button for ten seconds to reset the router."


@pytest.fixture(scope="module")
def service() -> Iterator[FoundryServer]:
    """A service in a thread of its own, with nothing loaded."""
    server, ready, end = FoundryServer(answer=GOOD, load_s=0.5), threading.Event(), threading.Event()

    async def listen() -> None:
        await server.open()
        ready.set()
        await asyncio.to_thread(end.wait)
        await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(listen()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield server
    end.set()
    thread.join(10)


def test_an_alias_is_loaded_and_the_page_names_what_answers(
    page: Page, start_chat: StartChat, service: FoundryServer
) -> None:
    """'phi-4-mini on Foundry Local', with the id; and what models.json does not know is not made up."""
    chat = start_chat(FOUNDRY_LOCAL_ENDPOINT=f"{service.url}/v1", RAG_MIN_CONFIDENCE="0")
    open_chat(page, chat)
    ask(page, QUESTION)
    page.locator(".gr-fall-line").wait_for(timeout=20_000)
    expect(page.locator(ANSWERS)).to_contain_text("Hold the reset button")
    expect(page.locator(".gr-fall-line")).to_contain_text(PHI[:12])
    assert service.bodies[-1]["model"] == PHI
    page.click("#chat-profiles")
    page.get_by_role("option", name="Local only").hover()
    expect(page.get_by_text(f"on Foundry Local ({PHI})").first).to_be_visible()


@pytest.mark.skipif(
    not (ONNX / "genai_config.json").is_file() or importlib.util.find_spec("foundry_local_sdk") is None,
    reason="needs requirements-foundry.txt and RAG_TEST_ONNX, a folder made by benchmarks/onnx_model.py",
)
def test_the_real_runtime_answers_through_the_page_and_stops_in_the_middle(
    page: Page, start_chat: StartChat, tmp_path: Path
) -> None:
    """In the chat's own process; its model is called a stand-in, as it is one."""
    (tmp_path / "SmolLM2-stand-in").symlink_to(ONNX.absolute())
    chat = start_chat(
        RAG_FOUNDRY="embed", RAG_FOUNDRY_MODELS=str(tmp_path), SLM_ALIAS="SmolLM2-stand-in", RAG_MIN_CONFIDENCE="0",
        RAG_EARLY_TOKENS="0", RAG_SLM_MAX_TOKENS="400",
    )  # fmt: skip
    open_chat(page, chat)
    ask(page, QUESTION)
    page.locator(".gr-fall-line").wait_for(timeout=60_000)
    expect(page.locator(".gr-fall-line")).to_contain_text("SmolLM2-stand-in")
    for _ in range(5):  # an answer may be over before it can be stopped
        ask(page, "Write a very long story about the reset button of the router, the garden and its roses.")
        page.locator("#stop-button").click(timeout=20_000)
        wait_until(lambda: not page.locator("#stop-button").is_visible(), 10)
        if "Stopped." in page.locator(ANSWERS).last.inner_text():
            break
    expect(page.locator(ANSWERS).last).to_contain_text("Stopped.")
    ask(page, QUESTION)
    expect(page.locator(".gr-fall-line").last).to_contain_text("SmolLM2-stand-in", timeout=60_000)

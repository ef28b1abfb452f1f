"""The command /compare in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ScriptedModels, StartChat
from tests.browser.test_chat import ANSWERS, open_chat

pytestmark = pytest.mark.browser


def test_both_models_answer_in_columns_beside_each_other(
    page: Page, start_chat: StartChat, scripted_models: ScriptedModels
) -> None:
    """The figures stand below; Stop ends the model that writes, and the chat goes on."""
    chat = start_chat(RAG_SLM_URL=scripted_models.url)
    open_chat(page, chat)
    page.fill("#chat-input", "/compare Which button must I hold?")
    page.click("#chat-submit")
    columns = page.locator(".gr-compare article")
    expect(columns).to_have_count(2, timeout=20_000)
    for place, name in enumerate(("phi-4-mini", "gpt-oss-20b")):
        expect(columns.nth(place)).to_contain_text(name)
        expect(columns.nth(place)).to_contain_text("Hold the reset button for ten seconds.", timeout=20_000)
        expect(columns.nth(place)).to_contain_text("8 tokens", timeout=20_000)
    left, right = (columns.nth(place).bounding_box() for place in (0, 1))
    assert left is not None
    assert right is not None
    assert abs(left["y"] - right["y"]) < 2
    assert left["x"] + left["width"] <= right["x"]
    expect(page.locator(ANSWERS).locator("blockquote").first).to_be_hidden()

    page.fill("#chat-input", "/compare Which button must I slowly hold?")
    page.click("#chat-submit")
    expect(page.locator(".gr-compare [data-state=writing]")).to_contain_text("and on", timeout=20_000)
    page.click("#stop-button")
    expect(page.locator(".gr-compare [data-state=stopped]").first).to_contain_text("and on", timeout=20_000)
    expect(page.locator(ANSWERS).last).to_contain_text("Stopped.")

"""The check in a real browser: what works, what does not, and what mends it, beside chats that go on."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ScriptedModels, StartChat
from tests.browser.test_chat import ANSWERS, QUESTION, ask, open_chat
from tests.running_chat import Chat

pytestmark = pytest.mark.browser

REPORT = ".gr-check"


@pytest.fixture
def chat(start_chat: StartChat, scripted_models: ScriptedModels) -> Chat:
    """A chat whose small model is there, and whose large one is not."""
    return start_chat(RAG_SLM_URL=scripted_models.url, RAG_LLM_URL="http://127.0.0.1:9")


def test_the_check_shows_each_thing_and_what_mends_a_fault(page: Page, chat: Chat) -> None:
    """By the command, chosen from the list or typed: faults first, and no model is asked a question."""
    open_chat(page, chat)
    page.locator("#chat-input").press_sequentially("/che")
    for _ in ("chosen", "sent"):
        page.locator("#chat-input").press("Enter")
    report = page.locator(REPORT)
    first = report.locator("[data-state]").first
    expect(first).to_have_attribute("data-state", "fault", timeout=20_000)
    expect(first).to_contain_text("No model server at http://127.0.0.1:9/v1. Start it, or set RAG_LLM_URL.")
    expect(first.locator("code").last).to_have_text("RAG_LLM_URL")
    expect(report.locator("[data-state]").filter(has_text="phi-4-mini on")).to_contain_text("Its server lists 2 models")
    for name in ("SLM", "LLM", "versions", "documents", "index", "memory", "calibration"):
        expect(report.locator(".gr-check-name").get_by_text(name, exact=True)).to_have_count(1)
    expect(page.locator(ANSWERS)).to_contain_text("1 fault, 6 of 7 things work.")
    assert page.locator(".gr-fall").count() == 0

    page.fill("#chat-input", "/check")
    page.click("#chat-submit")
    expect(report).to_have_count(2, timeout=20_000)


def test_a_check_beside_a_running_answer_stops_neither(
    page: Page, start_chat: StartChat, scripted_models: ScriptedModels
) -> None:
    """Another chat is writing meanwhile; it goes on, and the check comes to its end."""
    chat = start_chat(RAG_SLM_URL=scripted_models.url)
    open_chat(page, chat, profile="Large only")
    ask(page, f"{QUESTION} slowly")
    expect(page.locator(ANSWERS)).to_contain_text("and on", timeout=20_000)
    second = page.context.new_page()
    open_chat(second, chat)
    ask(second, "/check")
    expect(second.locator(REPORT)).to_contain_text("gpt-oss-20b on", timeout=20_000)
    assert scripted_models.open == 1
    written = len(page.locator(ANSWERS).inner_text())
    grown = "([one, least]) => document.querySelector(one).innerText.length > least"
    page.wait_for_function(grown, arg=[ANSWERS, written])
    page.click("#stop-button")


def test_the_check_fits_a_narrow_page(page: Page, chat: Chat) -> None:
    """Nothing is cut off and nothing scrolls sideways."""
    page.set_viewport_size({"width": 390, "height": 844})
    open_chat(page, chat)
    ask(page, "/check")
    report = page.locator(REPORT)
    expect(report.locator("[data-state]").first).to_be_visible(timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for box in [one.bounding_box() for one in report.locator(".gr-check-text").all()]:
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390

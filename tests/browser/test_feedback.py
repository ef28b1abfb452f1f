"""Marking an answer as wrong, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from rag.feedback import read_notes
from tests.browser.conftest import ScriptedModels, StartChat
from tests.browser.test_chat import LOSE_CONNECTION, QUESTION, WATCH_SOCKETS, ask, open_chat
from tests.running_chat import Chat

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def chat(start_chat: StartChat, scripted_models: ScriptedModels) -> Chat:
    """A chat whose models are scripted."""
    return start_chat(RAG_SLM_URL=scripted_models.url, RAG_GRACE_S="5")


def notes(chat: Chat) -> Path:
    """Where that chat notes what readers say."""
    return chat.log.parent / "feedback.jsonl"


@pytest.mark.parametrize("size", [None, PHONE], ids=["desktop", "phone"])
def test_a_reader_says_by_keyboard_what_would_be_right_and_takes_it_back(
    page: Page, chat: Chat, size: dict[str, int] | None
) -> None:
    """The button has a name, is large enough to hit, and never makes the page wider than the screen."""
    if size:
        page.set_viewport_size(size)
    notes(chat).unlink(missing_ok=True)
    open_chat(page, chat)
    ask(page, QUESTION)
    button = page.get_by_role("button", name="Not right?")
    expect(button).to_have_attribute("aria-expanded", "false", timeout=20_000)
    box = button.bounding_box()
    assert box
    assert min(box["width"], box["height"]) >= 24
    button.focus()
    page.keyboard.press("Enter")
    field = page.get_by_label("What would be right?")
    expect(field).to_be_focused()
    page.keyboard.type("<b>reset</b>; the reset button")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Noted in feedback.jsonl.")).to_be_visible()
    expect(page.get_by_role("button", name="Noted")).to_have_attribute("aria-expanded", "true")
    assert page.locator(".gr-say b").count() == 0
    (note,) = read_notes(notes(chat)).notes
    assert (note.question, note.answers) == (QUESTION, ("<b>reset</b>", "the reset button"))
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    page.keyboard.press("Enter")
    expect(field).to_be_focused()
    expect(field).to_have_value("<b>reset</b>; the reset button")
    assert notes(chat).read_bytes() == b""
    page.get_by_role("button", name="The documents do not say it").click()
    expect(undo).to_be_focused()
    assert [note.answers for note in read_notes(notes(chat)).notes] == [()]
    page.keyboard.press("Escape")
    expect(undo).to_have_count(0)
    expect(page.get_by_role("button", name="Noted")).to_be_focused()


def test_words_that_are_being_typed_outlive_another_answer_and_a_lost_connection(page: Page, chat: Chat) -> None:
    """Chainlit draws the element anew for both; neither the words nor the place of the cursor are lost."""
    page.add_init_script(WATCH_SOCKETS)
    open_chat(page, chat)
    ask(page, f"{QUESTION} slowly")
    page.locator("#stop-button").wait_for()
    page.locator("#stop-button").click()
    ask(page, QUESTION)
    page.get_by_role("button", name="Not right?").click(timeout=20_000)
    assert page.get_by_role("button", name="Not right?").count() == 1, "a stopped answer cannot be marked"
    page.fill("#chat-input", f"{QUESTION} slowly")
    page.keyboard.press("Enter")
    page.locator("#stop-button").wait_for()
    field = page.get_by_label("What would be right?")
    field.focus()
    page.keyboard.type("ten seconds")
    page.keyboard.press("ArrowLeft")
    page.evaluate(LOSE_CONNECTION)
    page.wait_for_timeout(2_000)
    page.evaluate("document.getElementById('stop-button').click()")
    expect(page.locator("#stop-button")).to_have_count(0, timeout=10_000)
    expect(field).to_have_value("ten seconds")
    expect(field).to_be_focused()
    page.keyboard.type("X")
    expect(field).to_have_value("ten secondXs")


def test_a_file_that_cannot_be_written_is_a_sentence_and_no_word_is_lost(page: Page, chat: Chat) -> None:
    """It names the file and the remedy; the same click works when the fault is gone."""
    notes(chat).unlink(missing_ok=True)
    notes(chat).mkdir()
    open_chat(page, chat)
    ask(page, QUESTION)
    page.get_by_role("button", name="Not right?").click(timeout=20_000)
    page.get_by_label("What would be right?").fill("reset")
    page.get_by_role("button", name="Save").click()
    error = page.get_by_role("alert").filter(has_text="cannot be written")
    expect(error).to_contain_text(str(notes(chat)))
    expect(error).to_contain_text("RAG_FEEDBACK")
    expect(page.get_by_label("What would be right?")).to_have_value("reset")
    notes(chat).rmdir()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Noted in feedback.jsonl.")).to_be_visible()
    assert [note.answers for note in read_notes(notes(chat)).notes] == [("reset",)]


def test_the_button_can_be_switched_off(page: Page, start_chat: StartChat, scripted_models: ScriptedModels) -> None:
    """And an answer is as it was before."""
    open_chat(page, start_chat(RAG_SLM_URL=scripted_models.url, RAG_FEEDBACK="none"))
    ask(page, QUESTION)
    page.locator(".gr-fall-line").wait_for(timeout=20_000)
    assert page.locator(".gr-mark").count() == 0


def test_a_request_that_never_ends_gives_the_form_back_with_a_sentence(page: Page, chat: Chat) -> None:
    """After 20 seconds; the words are still there, and the next click works."""
    notes(chat).unlink(missing_ok=True)
    open_chat(page, chat)
    ask(page, QUESTION)
    page.get_by_role("button", name="Not right?").click(timeout=20_000)
    page.get_by_label("What would be right?").fill("reset")
    page.route("**/project/action", lambda route: None)  # as where the connection is lost
    page.clock.install()
    save = page.get_by_role("button", name="Save")
    with page.expect_request("**/project/action"):
        save.click()
    expect(save).to_have_attribute("aria-disabled", "true")
    page.clock.run_for(20_000)
    expect(page.get_by_role("alert").filter(has_text="The chat did not answer")).to_be_visible()
    expect(save).to_have_attribute("aria-disabled", "false")
    expect(page.get_by_label("What would be right?")).to_have_value("reset")
    page.unroute("**/project/action")
    save.click()
    expect(page.get_by_text("Noted in feedback.jsonl.")).to_be_visible()
    assert [note.answers for note in read_notes(notes(chat)).notes] == [("reset",)]

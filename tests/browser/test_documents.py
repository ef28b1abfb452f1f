"""Documents in a real browser: followed, reported on, and added to a conversation."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ScriptedModels, StartChat
from tests.browser.test_chat import ANSWERS, LOSE_CONNECTION, QUESTION, WATCH_SOCKETS, ask, open_chat, wait_until
from tests.conftest import PORTS
from tests.running_chat import Chat

pytestmark = pytest.mark.browser

TOAST = "[data-sonner-toast]"
TRAVEL = "Hold the reset button for ten seconds on the travel router.\n\nSleeping cars are paid in full.\n"
ABOUT_TRAVEL = "Which button must I hold on the travel router?"


@pytest.fixture
def chat(start_chat: StartChat, scripted_models: ScriptedModels) -> Chat:
    """A chat with scripted models over a folder that the tests change."""
    return start_chat(RAG_SLM_URL=scripted_models.url)


@pytest.fixture
def folder(chat: Chat) -> Path:
    """Its documents."""
    return chat.log.parent / "docs"


def send_files(page: Page, *paths: Path, text: str = "") -> None:
    """Attach files and send them, with a text or without."""
    page.set_input_files("#upload-button-input", [str(path) for path in paths])
    expect(page.locator("#attachments button")).to_have_count(len(paths))
    page.fill("#chat-input", text)
    expect(page.locator("#chat-submit")).to_be_enabled()
    page.click("#chat-submit")


def test_open_pages_follow_the_folder_and_answers_say_so(page: Page, chat: Chat, folder: Path) -> None:
    """A toast names the change; a source whose words are gone is marked, beside the chat too, until they are back."""
    open_chat(page, chat)
    ask(page, QUESTION)
    chip = page.locator(".gr-chip")
    chip.click(timeout=20_000)
    expect(page.locator(".gr-source mark")).to_be_visible()
    (folder / "new.md").write_text("# New\n\nA bicycle has two wheels.\n")
    expect(page.locator(TOAST).first).to_contain_text("docs updated: 1 added", timeout=10_000)
    expect(chip).not_to_contain_text("since")

    (folder / "ports.md").write_text("# Ports\n\nThere is no button any more.\n")
    expect(chip).to_contain_text("changed since", timeout=10_000)
    expect(page.locator(".gr-source-since")).to_contain_text("This document has changed since this answer.")
    expect(page.get_by_role("button", name="changed since")).to_be_visible()

    (folder / "ports.md").write_text(PORTS)
    expect(chip).not_to_contain_text("since", timeout=10_000)
    expect(page.locator(".gr-source-since")).to_have_count(0)


def test_a_follow_up_says_what_was_searched_for(page: Page, chat: Chat) -> None:
    """Small, above the sources; a question that stands alone says nothing."""
    open_chat(page, chat)
    ask(page, QUESTION)
    page.locator(".gr-fall-line").wait_for(timeout=20_000)
    expect(page.locator(".gr-searched")).to_have_count(0)
    ask(page, "And what is it for?")
    line = page.locator(".gr-searched")
    expect(line).to_contain_text("Searched with: And what is it for? button", timeout=20_000)
    expect(line).to_contain_text("goes on")


def test_the_report_lists_every_file_without_asking_a_model(
    page: Page, chat: Chat, folder: Path, scripted_models: ScriptedModels
) -> None:
    """By the command, or typed; what was left out has its reason, and the list can be filtered."""
    (folder / "letter.doc").write_bytes(b"\xd0\xcf\x11\xe0 old")
    (folder / "copy.md").write_text(PORTS)
    open_chat(page, chat)
    page.locator("#chat-input").press_sequentially("/do")
    for _ in ("chosen", "sent"):
        page.locator("#chat-input").press("Enter")
    table = page.locator(".gr-docs")
    expect(table.locator("[data-group=left]")).to_contain_text("letter.doc", timeout=20_000)
    expect(table.locator("[data-group=left]")).to_contain_text("no reader for .doc: save it as .docx")
    expect(table.locator("[data-group=copies]")).to_contain_text("the same text as")
    expect(page.locator(ANSWERS)).to_contain_text("left out.")
    page.get_by_role("searchbox").fill("GARDEN")
    expect(table.locator("tbody tr")).to_have_count(1)
    expect(table.get_by_role("status")).to_contain_text("1 of ")

    page.fill("#chat-input", "/docs letter")
    page.click("#chat-submit")
    expect(page.locator(ANSWERS).last).to_contain_text("1 of these files match “letter”.", timeout=20_000)
    assert page.locator(".gr-fall").count() == 0
    for name in ("letter.doc", "copy.md"):
        (folder / name).unlink()


def test_a_file_joins_one_conversation_and_is_gone_with_it(page: Page, chat: Chat, tmp_path: Path) -> None:
    """It is cited like any other, nobody else finds it, and the disk has it no longer."""
    travel = tmp_path / "travel rules.txt"
    travel.write_text(TRAVEL)
    old = tmp_path / "notes.doc"
    old.write_bytes(b"\xd0\xcf\x11\xe0 old")
    open_chat(page, chat)
    send_files(page, travel, old)
    note = page.locator(ANSWERS)
    expect(note).to_contain_text("travel rules.txt joined this conversation: 1 chunk", timeout=20_000)
    expect(note).to_contain_text("notes.doc: no reader for .doc: save it as .docx")
    expect(page.locator('[data-step-type="user_message"]')).to_contain_text("travel rules.txt, notes.doc")
    sent = chat.log.parent / ".files"
    assert [path for path in sent.rglob("*") if path.is_file()] == []

    ask(page, ABOUT_TRAVEL)
    chip = page.get_by_role("button", name="Source 1: travel rules.txt, your own file")
    chip.click(timeout=20_000)
    expect(page.locator(".gr-source")).to_contain_text("Your own file, in this conversation only")

    second = page.context.new_page()
    open_chat(second, chat)
    ask(second, ABOUT_TRAVEL)
    second.locator(".gr-fall-line").wait_for(timeout=20_000)
    expect(second.locator("body")).not_to_contain_text("travel rules.txt")

    page.bring_to_front()
    page.click("#new-chat-button")
    expect(page.locator("#starters button").first).to_be_enabled()
    ask(page, ABOUT_TRAVEL)
    page.locator(".gr-fall-line").wait_for(timeout=20_000)
    expect(page.locator("body")).not_to_contain_text("travel rules.txt")
    wait_until(lambda: len(list(sent.iterdir())) == 0, 5)


def test_a_file_may_come_with_its_question_and_stays_over_a_lost_connection(
    page: Page, chat: Chat, tmp_path: Path
) -> None:
    """It joins first; an empty one is refused in words, and never reaches the conversation."""
    page.add_init_script(WATCH_SOCKETS)
    travel = tmp_path / "travel.md"
    travel.write_text(TRAVEL)
    empty = tmp_path / "empty.md"
    empty.touch()
    open_chat(page, chat)
    page.set_input_files("#upload-button-input", [str(empty)])
    expect(page.locator(TOAST)).to_contain_text("it is empty", timeout=10_000)
    send_files(page, travel, text=ABOUT_TRAVEL)
    page.locator(".gr-fall-line").wait_for(timeout=20_000)
    expect(page.locator(ANSWERS).first).to_contain_text("travel.md joined this conversation")
    chip = page.get_by_role("button", name="Source 1: travel.md, your own file")
    expect(chip).to_be_visible()

    page.evaluate(LOSE_CONNECTION)
    ask(page, ABOUT_TRAVEL)
    expect(chip).to_have_count(2, timeout=20_000)

"""The chat in a real browser: what a reader sees and does."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import THOUGHT, ScriptedModels, StartChat
from tests.running_chat import ROOT, Chat

pytestmark = pytest.mark.browser

QUESTION = "Which button must I hold for ten seconds?"
ANSWERS = '[data-step-type="assistant_message"] .message-content'

WATCH_SOCKETS = """(() => { const Real = WebSocket; window.sockets = [];
    window.WebSocket = class extends Real { constructor(...a) { super(...a); window.sockets.push(this); } };
})()"""
LOSE_CONNECTION = "window.sockets.forEach(s => s.close())"


def open_chat(page: Page, chat: Chat, *, profile: str | None = None) -> None:
    """Open the page and wait until it can take a question."""
    page.goto(chat.url)
    page.wait_for_selector("#chat-input")
    if profile:
        page.click("#chat-profiles")
        page.get_by_role("option", name=profile).click()
    expect(page.locator("#starters button").first).to_be_enabled(timeout=20_000)


def ask(page: Page, question: str) -> None:
    """Type a question and send it."""
    page.fill("#chat-input", question)
    page.click("#chat-submit")


def wait_until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for something outside the page; gives the seconds it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture
def scripted_chat(start_chat: StartChat, scripted_models: ScriptedModels) -> Chat:
    """A chat whose models are scripted; the large one is found because the small one's server lists it."""
    return start_chat(RAG_SLM_URL=scripted_models.url, RAG_GRACE_S="1", RAG_SLOTS="1")


@pytest.mark.model
def test_a_newcomer_asks_a_starter_and_sees_it_answered_by_the_embedded_model(
    page: Page, start_chat: StartChat
) -> None:
    """Nothing is set up by hand: tokens stream, the waterfall and the source open, and no other host is asked."""
    open_chat(page, start_chat(RAG_DOCS_DIR=str(ROOT / "docs")))
    page.evaluate(
        """() => { window.seen = []; new MutationObserver(() => {
            const all = document.querySelectorAll('[data-step-type="assistant_message"] .message-content');
            if (all.length) window.seen.push(all[all.length - 1].innerText.length);
        }).observe(document.body, {subtree: true, childList: true, characterData: true}); }"""
    )
    page.locator("#starters button").nth(1).click()
    line = page.locator(".gr-fall-line")
    line.wait_for(timeout=60_000)
    lengths = page.evaluate("[...new Set(window.seen)].filter(n => n > 0)")
    assert len(lengths) > 3, f"the answer did not grow: {lengths}"
    assert "escalated" in page.locator(ANSWERS).inner_text().lower()
    line.click()
    expect(page.locator("tr[data-stage=generate]")).to_be_visible()
    page.locator(".gr-chip").first.click()
    marked = page.locator(".gr-source mark")
    expect(marked).to_be_visible()
    assert marked.inner_text().strip() in "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")
    )


def test_a_doubtful_draft_is_escalated_with_the_reason_and_can_still_be_read(page: Page, scripted_chat: Chat) -> None:
    """One message: the card says why, with the numbers; the draft is folded away in it."""
    open_chat(page, scripted_chat)
    ask(page, f"{QUESTION} It is doubtful.")
    card = page.locator(".gr-note[data-kind=escalated]")
    expect(card).to_contain_text("low confidence: 0.", timeout=20_000)
    expect(card).to_contain_text("gpt-oss-20b")
    page.locator(".gr-fall-line").wait_for()
    message = page.locator(ANSWERS)
    expect(message).to_contain_text("Hold the reset button for ten seconds. [1]")
    draft, final = card.get_by_role("region", name="Draft by"), card.get_by_role("region", name="Answer by gpt-oss-20b")
    expect(draft).to_be_hidden()
    card.get_by_role("button", name="Show the draft").click()
    expect(draft).to_contain_text("Monks in Lyon")
    expect(final).to_contain_text("Hold the reset button for ten seconds.")
    beside = [one.bounding_box() for one in (draft, final)]
    assert beside[0] and beside[1]
    assert (beside[0]["y"], beside[0]["height"]) == (beside[1]["y"], beside[1]["height"])
    expect(card.locator("tr[data-signal=support]")).to_be_hidden()
    card.get_by_role("button", name="How this was decided").click()
    expect(card.locator("tr[data-signal=support]")).to_be_visible()
    expect(card.get_by_role("img", name="Confidence 0.")).to_have_accessible_name(
        re.compile(r"^Confidence 0\.\d\d of 1, below the threshold of 0\.60$")
    )
    expect(card).to_contain_text("this draft would have been kept.")
    expect(card).to_contain_text("The draft cost")
    page.locator(".gr-fall-line").click()
    expect(page.locator("tr[data-stage=llm_generate]")).to_be_visible()
    assert message.count() == 1


def test_a_kept_draft_tells_how_it_was_judged_for_whoever_asks(page: Page, scripted_chat: Chat) -> None:
    """A quiet line with the two numbers; the table is behind it."""
    open_chat(page, scripted_chat)
    ask(page, QUESTION)
    line = page.get_by_role("button", name="How this was decided")
    expect(line).to_have_text(re.compile(r"Kept: 0\.\d\d\s≥\s0\.60"), timeout=20_000)
    table = page.locator(".gr-kept table")
    expect(table).to_be_hidden()
    line.click()
    expect(table).to_be_visible()
    expect(line).to_have_attribute("aria-expanded", "true")


def test_what_a_model_thought_opens_as_plain_text_and_is_no_part_of_the_answer(page: Page, scripted_chat: Chat) -> None:
    """The page says that the model thinks, then how long it did; the waterfall has a bar for it."""
    open_chat(page, scripted_chat, profile="Large only")
    ask(page, f"{QUESTION} It thinks.")
    expect(page.locator(ANSWERS)).to_have_text("Thinking …", timeout=20_000)
    page.locator(".gr-fall-line").wait_for(timeout=20_000)
    expect(page.locator(ANSWERS)).to_have_text(re.compile(r"^Hold the reset button for ten seconds. \[1\]"))
    button = page.get_by_role("button", name=re.compile(r"^Show the reasoning \(\d+ ms\)$"))
    thought = page.get_by_role("region", name="Reasoning by gpt-oss-20b")
    expect(thought).to_be_hidden()
    button.click()
    expect(thought).to_have_text(THOUGHT)
    assert thought.locator("img, strong, code").count() == 0
    assert page.title() != "run"
    page.locator(".gr-fall-line").click()
    for stage in ("first_token", "reasoning", "generate"):
        expect(page.locator(f"tr[data-stage=llm_{stage}]")).to_be_visible()


def test_local_only_quotes_the_documents_instead(page: Page, scripted_chat: Chat) -> None:
    """The chat profile is the mode; the quotation is labelled and has its source."""
    open_chat(page, scripted_chat, profile="Local only")
    ask(page, f"{QUESTION} It is doubtful.")
    page.locator(".gr-fall-line").wait_for(timeout=20_000)
    expect(page.locator(ANSWERS)).to_contain_text("The documents say:")
    expect(page.locator(".gr-note[data-kind=quoted]")).to_be_visible()
    expect(page.locator(".gr-fall[data-route=quoted]")).to_be_visible()


def test_stop_stops_the_model_and_keeps_what_was_there(
    page: Page, scripted_chat: Chat, scripted_models: ScriptedModels
) -> None:
    """Also after an edit, which Chainlit forgets; and the next question works."""
    open_chat(page, scripted_chat)
    ask(page, f"{QUESTION} Tell me slowly.")
    expect(page.locator(ANSWERS)).to_contain_text("and on and on", timeout=20_000)
    page.click("#stop-button")
    assert wait_until(lambda: scripted_models.open == 0, 2) < 0.5
    expect(page.locator(ANSWERS)).to_contain_text("Stopped.")

    page.locator('[data-step-type="user_message"]').hover()
    page.locator(".edit-message").click()
    page.fill("#edit-chat-input", f"{QUESTION} Tell it slowly again.")
    page.locator(".confirm-edit").click()
    expect(page.locator(ANSWERS).last).to_contain_text("and on and on", timeout=20_000)
    page.click("#stop-button")
    assert wait_until(lambda: scripted_models.open == 0, 2) < 0.5

    ask(page, QUESTION)
    page.locator(".gr-fall-line").wait_for(timeout=20_000)


def test_a_lost_connection_loses_nothing(page: Page, start_chat: StartChat, scripted_models: ScriptedModels) -> None:
    """The answer that ended meanwhile is there afterwards; one that still grows can be stopped."""
    page.add_init_script(WATCH_SOCKETS)
    open_chat(page, start_chat(RAG_SLM_URL=scripted_models.url, RAG_GRACE_S="20"))
    ask(page, QUESTION)
    expect(page.locator(ANSWERS)).to_contain_text("Hold", timeout=20_000)
    page.evaluate(LOSE_CONNECTION)
    page.locator(".gr-fall-line").wait_for(timeout=20_000)
    expect(page.locator(ANSWERS)).to_contain_text("ten seconds. [1]")

    ask(page, f"{QUESTION} Tell me slowly.")
    expect(page.locator(ANSWERS).last).to_contain_text("and on and on", timeout=20_000)
    page.evaluate(LOSE_CONNECTION)
    page.wait_for_timeout(2500)
    assert scripted_models.open == 1
    page.click("#stop-button", timeout=20_000)
    wait_until(lambda: scripted_models.open == 0, 2)
    expect(page.locator(ANSWERS).last).to_contain_text("Stopped.")


def test_two_megabytes_are_refused_in_words(page: Page, scripted_chat: Chat) -> None:
    """Not by a dropped connection."""
    open_chat(page, scripted_chat)
    page.evaluate(
        """() => { const box = document.querySelector('#chat-input');
            const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set;
            set.call(box, 'port '.repeat(400000)); box.dispatchEvent(new Event('input', {bubbles: true})); }"""
    )
    page.focus("#chat-input")
    page.keyboard.press("Enter")
    expect(page.locator(ANSWERS)).to_contain_text("1,999,999 characters; the limit is 8,000", timeout=60_000)


def test_a_closed_tab_stops_its_model_after_the_grace(
    page: Page, scripted_chat: Chat, scripted_models: ScriptedModels
) -> None:
    """Not at once, since the reader may only be reloading; not never, since nobody reads it."""
    open_chat(page, scripted_chat)
    ask(page, f"{QUESTION} Tell me slowly.")
    expect(page.locator(ANSWERS)).to_contain_text("and on", timeout=20_000)
    page.close()
    assert wait_until(lambda: scripted_models.open == 0, 10) > 0.5


def test_the_second_reader_sees_the_place_in_the_queue(page: Page, scripted_chat: Chat) -> None:
    """One slot: the line is visible, and moves."""
    open_chat(page, scripted_chat)
    ask(page, f"{QUESTION} Tell me slowly.")
    expect(page.locator(ANSWERS)).to_contain_text("and on", timeout=20_000)
    second = page.context.new_page()
    open_chat(second, scripted_chat)
    ask(second, QUESTION)
    expect(second.locator(ANSWERS)).to_contain_text("Your place in the queue: 1", timeout=20_000)
    page.click("#stop-button")
    second.locator(".gr-fall-line").wait_for(timeout=20_000)
    expect(second.locator(ANSWERS)).to_contain_text("ten seconds")


def test_a_server_that_dies_in_the_middle_costs_the_answer_nothing(page: Page, scripted_chat: Chat) -> None:
    """The other model answers, the reason is the fault, and the part is still there to read."""
    open_chat(page, scripted_chat)
    ask(page, f"{QUESTION} It dies.")
    expect(page.locator(".gr-note")).to_contain_text("mid-answer", timeout=20_000)


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        pytest.param("the of and", "The documents do not say.", id="only stop words"),
        pytest.param("🙂🎉", "The documents do not say.", id="emoji"),
        pytest.param("यो के हो?", "The documents do not say.", id="another script"),
        pytest.param("long " * 2000, "the limit is 8,000", id="too long"),
    ],
)
def test_an_odd_question_gets_a_sentence(page: Page, scripted_chat: Chat, question: str, sentence: str) -> None:
    """No traceback, and the next question is answered."""
    open_chat(page, scripted_chat)
    ask(page, question)
    expect(page.locator(ANSWERS)).to_contain_text(sentence, timeout=20_000)
    expect(page.locator("body")).not_to_contain_text("Traceback")
    ask(page, QUESTION)
    expect(page.locator(ANSWERS).last).to_contain_text("ten seconds. [1]", timeout=20_000)


def test_nobody_there_is_a_friendly_sentence_with_an_id_and_a_button(page: Page, start_chat: StartChat) -> None:
    """Large only without a large model: what is wrong, what to do, and the way to ask again."""
    chat = start_chat(RAG_SLM_URL="http://127.0.0.1:9")
    open_chat(page, chat, profile="Large only")
    ask(page, QUESTION)
    message = page.locator(ANSWERS)
    expect(message).to_contain_text("No large model is configured. Set RAG_LLM_URL", timeout=20_000)
    code = message.inner_text().split("Error id:")[1].strip()
    assert code in chat.log.read_text(encoding="utf-8")
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(ANSWERS)).to_have_count(2, timeout=20_000)


def test_a_missing_docs_folder_is_said_on_the_page(page: Page, start_chat: StartChat, tmp_path: Path) -> None:
    """The chat opens all the same, and works once the folder is there."""
    folder = tmp_path / "mine"
    chat = start_chat(RAG_SLM_URL="http://127.0.0.1:9", RAG_DOCS_DIR=str(folder))
    open_chat(page, chat)
    expect(page.locator("body")).to_contain_text("Make it, or set RAG_DOCS_DIR")
    folder.mkdir()
    (folder / "a.md").write_text("Hold the reset button for ten seconds.\n\nOther.\n\nMore.")
    ask(page, QUESTION)
    expect(page.locator(ANSWERS)).to_contain_text("The documents say:", timeout=20_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(page: Page, scripted_chat: Chat, scheme: str) -> None:
    """Nothing is wider than 390 pixels, also with everything open."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.add_init_script(f"localStorage.setItem('vite-ui-theme', '{scheme}')")
    open_chat(page, scripted_chat)
    ask(page, f"{QUESTION} It is doubtful.")
    page.locator(".gr-fall-line").click(timeout=20_000)
    for button in ("Show the draft", "How this was decided"):
        page.get_by_role("button", name=button).click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_settings_panel_changes_the_next_answer(page: Page, scripted_chat: Chat) -> None:
    """A confidence of at least 1 lets no draft stand."""
    open_chat(page, scripted_chat)
    page.click("#chat-settings-open-modal")
    page.locator("#min_confidence [role=slider]").press("End")
    page.get_by_role("button", name="Confirm").click()
    ask(page, QUESTION)
    expect(page.locator(".gr-note[data-kind=escalated]")).to_contain_text("< 1.00", timeout=20_000)


def test_every_response_carries_the_security_headers(page: Page, scripted_chat: Chat) -> None:
    """The policy is what keeps a remote image in an answer from telling anybody."""
    response = page.goto(scripted_chat.url)
    assert response is not None
    assert "default-src 'self'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"

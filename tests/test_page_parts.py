"""The page's parts, on a real Chainlit session whose packets are recorded."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from chainlit.context import ChainlitContext, context_var
from chainlit.message import Message
from chainlit.server import get_html_template
from chainlit.session import WebsocketSession

from rag.assistant import Assistant, Knobs
from rag.backends.scripted import Script, ScriptedBackend
from rag.errors import ModelBroke
from rag.prompts import Turn
from rag.timings import Stopwatch
from ui.choices import STARTERS, mode_of_profile, profiles, read_panel, starters
from ui.hardening import without_remote_links
from ui.mending import mend_chainlit
from ui.reply import Reply
from ui.session import Conversation
from ui.streaming import TokenStream

pytestmark = pytest.mark.anyio

QUESTION = "Which button must I hold for ten seconds?"
GOOD = Script("Hold the reset button for ten seconds.", logprob=-0.01)
DOUBTFUL = Script("Monks in Lyon hold the reset button.", logprob=-3.0)
Make = Callable[..., Assistant]


@pytest.fixture(name="packets")
async def recorded_packets() -> Any:
    """What is emitted to the browser, as (event, data), oldest first."""
    emit = AsyncMock()
    session = WebsocketSession(
        id="test", socket_id="socket", emit=emit, emit_call=AsyncMock(), user_env={}, client_type="webapp"
    )
    token = context_var.set(ChainlitContext(session))

    def recorded() -> list[tuple[str, Any]]:
        return [call.args for call in emit.call_args_list]

    yield recorded
    context_var.reset(token)
    await session.delete()


def elements(packets: list[tuple[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last state of each custom element, by its name."""
    return {data["name"]: data["props"] for event, data in packets if event == "element"}


def final(packets: list[tuple[str, Any]]) -> dict[str, Any]:
    """The message as it was sent last."""
    return [data for event, data in packets if event == "new_message"][-1]


async def draw(assistant: Assistant, question: str = QUESTION) -> Any:
    """Ask and draw."""
    await assistant.start()
    watch = Stopwatch()
    reply = Reply(watch, large_label="gpt-oss-20b")
    return await reply.draw(assistant.ask(question, watch=watch), question=question)


async def test_the_first_token_goes_out_at_once_and_the_rest_in_packets(packets: Callable[[], Any]) -> None:
    """200 tokens in about 200 ms are at most a dozen packets, and no letter is lost or doubled."""
    stream = TokenStream(Message(content=""))
    await stream.write("0 ")
    assert [event for event, _ in packets()] == ["stream_start"]
    for number in range(1, 200):
        await stream.write(f"{number} ")
        await asyncio.sleep(0.001)
    await stream.flush()
    sent = packets()
    assert 3 <= len(sent) <= 40
    text = sent[0][1]["output"] + "".join(data["token"] for _, data in sent[1:])
    assert text == "".join(f"{number} " for number in range(200))


async def test_a_pause_does_not_hold_back_what_was_written(packets: Callable[[], Any]) -> None:
    """The last token before a stall is on the page within 30 ms, not when the next one comes."""
    stream = TokenStream(Message(content=""))
    await stream.write("one")
    await stream.write(" two")
    await asyncio.sleep(0.08)
    assert [data.get("token") for _, data in packets()][1:] == [" two"]


async def test_a_status_line_is_replaced_by_the_first_text(packets: Callable[[], Any]) -> None:
    """'Loading …' is no part of the answer."""
    stream = TokenStream(Message(content=""))
    await stream.replace("*Loading …*")
    await stream.write("Hello")
    await stream.flush()
    assert packets()[-1] == (
        "stream_token",
        {"id": packets()[0][1]["id"], "token": "Hello", "isSequence": True, "isInput": False},
    )


async def test_a_kept_draft_shows_sources_and_waterfall(packets: Callable[[], Any], make_assistant: Make) -> None:
    """The metadata is on the message, and each element gets what it draws."""
    await draw(make_assistant(ScriptedBackend(GOOD)))
    message = final(packets())
    assert message["output"] == "Hold the reset button for ten seconds. [1]"
    assert message["metadata"]["route"] == "slm"
    shown = elements(packets())
    assert set(shown) == {"Sources", "LatencyWaterfall", "EscalationCard"}
    (source,) = shown["Sources"]["sources"]
    assert source["quote"] == "Hold the reset button for ten seconds to restore the factory settings."
    assert source["before"].endswith("The chat listens on port 8000. ")
    assert source["after"].startswith("\n\nOpen the firewall")
    assert shown["LatencyWaterfall"]["latency"] == message["metadata"]["latency"]


async def test_the_metadata_is_persisted_with_the_message(
    packets: Callable[[], Any], make_assistant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever history is attached gets the final text and the metadata of the contract in one piece."""
    layer = AsyncMock()
    monkeypatch.setattr("chainlit.data._data_layer", layer)
    monkeypatch.setattr("chainlit.data._data_layer_initialized", True)
    await draw(make_assistant(ScriptedBackend(GOOD)))
    await asyncio.sleep(0)
    stored = [call.args[0] for call in layer.create_step.call_args_list if call.args[0]["type"] == "assistant_message"]
    assert [step["output"] for step in stored] == ["Hold the reset button for ten seconds. [1]"]
    assert stored[0]["metadata"] == final(packets())["metadata"]
    assert stored[0]["metadata"]["latency"]["stages"]


async def test_an_escalation_folds_the_draft_into_a_card(packets: Callable[[], Any], make_assistant: Make) -> None:
    """Same message, draft gone from it, reason and draft in the card from the moment of the escalation."""
    llm = ScriptedBackend("Hold the reset button for ten seconds.", label="gpt-oss-20b")
    await draw(make_assistant(ScriptedBackend(DOUBTFUL), llm))
    sent = packets()
    assert len({data["id"] for event, data in sent if event == "new_message"}) == 1
    assert "Lyon" not in final(sent)["output"]
    card = elements(sent)["EscalationCard"]
    assert (card["kind"], card["draft"], card["model"]) == ("escalated", DOUBTFUL.text, "gpt-oss-20b")
    assert card["reason"].startswith("low confidence")
    names = [data["name"] if event == "element" else event for event, data in sent]
    assert names.index("EscalationCard") < names.index("LatencyWaterfall")


async def test_a_kept_draft_has_a_quiet_line_that_tells_how_it_was_judged(
    packets: Callable[[], Any], make_assistant: Make
) -> None:
    """No sentence, no draft: only what the confidence is made of, and what it cost."""
    await draw(make_assistant(ScriptedBackend(GOOD)))
    card, metadata = elements(packets())["EscalationCard"], final(packets())["metadata"]
    assert (card["kind"], card["reason"], card["draft"]) == ("kept", "", None)
    assert (card["confidence"], card["cost"]) == (metadata["confidence"], metadata["draft"])
    assert card["confidence"]["value"] >= card["confidence"]["threshold"] == 0.60
    names = [data["name"] for event, data in packets() if event == "element"]
    assert names[-1] == "EscalationCard"


@pytest.mark.parametrize("large", [True, False], ids=["escalated", "quoted"])
async def test_the_card_has_the_parts_of_the_confidence(
    packets: Callable[[], Any], make_assistant: Make, large: bool
) -> None:
    """Value times weight, summed and put through a logistic, is the confidence that the card shows."""
    llm = ScriptedBackend("Ten seconds.", label="gpt-oss-20b") if large else None
    await draw(make_assistant(ScriptedBackend(DOUBTFUL), llm))
    shown = elements(packets())["EscalationCard"]["confidence"]
    total = sum(part["value"] * part["weight"] for part in shown["parts"])
    assert shown["value"] == pytest.approx(1 / (1 + math.exp(-total)), abs=0.002)
    assert shown["kept_at"] <= shown["value"] < shown["kept_at"] + 0.05


async def test_a_hopeless_draft_shows_what_it_was_stopped_at(packets: Callable[[], Any], make_assistant: Make) -> None:
    """Card and waterfall have how far it came and how far it might have gone."""
    slm = ScriptedBackend(Script(" ".join(f"Monk{n}" for n in range(60)), logprob=-5.0))
    await draw(make_assistant(slm, ScriptedBackend("Ten seconds.", label="gpt-oss-20b"), early_tokens=20))
    shown = elements(packets())
    assert shown["EscalationCard"]["kind"] == "escalated"
    assert shown["EscalationCard"]["reason"].startswith("hopeless after 20 tokens: ")
    for draft in (shown["EscalationCard"]["cost"], shown["LatencyWaterfall"]["draft"]):
        assert (draft["tokens"], draft["at_most"], draft["stopped"]) == (20, 160, True)
        assert draft["ms"] > 0
    assert shown["EscalationCard"]["confidence"]["threshold"] == 0.25


THINKS = Script(GOOD.text, logprob=-0.01, reasoning="The manual names <b>a</b> button.", pace_s=0.01)


async def test_what_a_model_thought_opens_under_the_answer(packets: Callable[[], Any], make_assistant: Make) -> None:
    """While it thinks, the page says so; its words are in their own element and in the metadata alone."""
    await draw(make_assistant(ScriptedBackend(THINKS)))
    sent = packets()
    assert sent[0][1]["output"] == "Thinking …"
    said = [data["token"] for event, data in sent if event == "stream_token"]
    assert (said[0], said[1][:4]) == ("Hold", " the")
    assert final(sent)["output"] == "Hold the reset button for ten seconds. [1]"
    shown = elements(sent)
    assert shown["Reasoning"] == final(sent)["metadata"]["reasoning"]
    assert shown["Reasoning"]["text"] == THINKS.reasoning
    assert "reasoning" not in shown["LatencyWaterfall"]
    assert "reasoning" in [stage["name"] for stage in shown["LatencyWaterfall"]["latency"]["stages"]]


async def test_a_model_that_did_not_think_has_nothing_to_show(packets: Callable[[], Any], make_assistant: Make) -> None:
    """No line that opens into nothing."""
    await draw(make_assistant(ScriptedBackend(GOOD)))
    assert "Reasoning" not in elements(packets())


async def test_stop_while_a_model_thinks_counts_the_time_as_reasoning(
    packets: Callable[[], Any], make_assistant: Make
) -> None:
    """Nothing of it is left on the page."""
    slm = ScriptedBackend(Script(GOOD.text, reasoning="hm " * 500, pace_s=0.01))
    drawing = asyncio.create_task(draw(make_assistant(slm)))
    async with asyncio.timeout(20):
        while not packets():
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    drawing.cancel()
    await asyncio.gather(drawing, return_exceptions=True)
    assert final(packets())["output"] == "Stopped."
    names = [stage["name"] for stage in final(packets())["metadata"]["latency"]["stages"]]
    assert names[-2:] == ["first_token", "reasoning"]
    assert slm.open == 0


async def test_an_escalation_without_a_draft_has_nothing_to_unfold(
    packets: Callable[[], Any], make_assistant: Make
) -> None:
    """The sentence says all that there is."""
    llm = ScriptedBackend("Ten seconds.", label="gpt-oss-20b")
    await draw(make_assistant(ScriptedBackend(GOOD), llm, escalate_topics=["button"]))
    card = elements(packets())["EscalationCard"]
    assert (card["kind"], card["reason"]) == ("escalated", "flagged topic: button")
    assert (card["draft"], card["confidence"], card["cost"]) == (None, None, None)
    assert final(packets())["metadata"]["draft"] is None


async def test_an_error_is_a_sentence_with_an_id_and_a_way_on(
    packets: Callable[[], Any], make_assistant: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The id is in the log too, and the question can be asked again with one click."""
    assert await draw(make_assistant(ScriptedBackend(GOOD), mode="llm")) is None
    output = final(packets())["output"]
    assert output.startswith("No large model is configured. Set RAG_LLM_URL")
    code = output.split("`")[1]
    assert code in caplog.text
    (action,) = [data for event, data in packets() if event == "action"]
    assert (action["name"], action["payload"]) == ("ask_again", {"question": QUESTION})


async def test_a_question_that_cannot_be_asked_is_not_offered_again(
    packets: Callable[[], Any], make_assistant: Make
) -> None:
    """The same two megabytes would be refused in the same way."""
    await draw(make_assistant(ScriptedBackend(GOOD), max_question_chars=5))
    assert final(packets())["output"].startswith("The question has 41 characters; the limit is 5")
    assert [event for event, _ in packets()].count("action") == 0


async def test_a_failing_decoration_does_not_take_the_answer_away(
    packets: Callable[[], Any], make_assistant: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the answer is on the page, it stays as it is."""

    async def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("chainlit.CustomElement.send", fail)
    await draw(make_assistant(ScriptedBackend(DOUBTFUL)))
    messages = [data["output"] for event, data in packets() if event == "new_message"]
    assert len(messages) == 1
    assert messages[0].startswith("**The documents say:**")


async def test_what_was_sent_while_the_connection_was_lost_is_sent_again(
    packets: Callable[[], Any], make_assistant: Make
) -> None:
    """Text, sources and waterfall, under the same ids."""
    assistant = make_assistant(ScriptedBackend(GOOD))
    await assistant.start()
    reply = Reply(Stopwatch())
    await reply.resend()
    assert packets() == []
    await reply.draw(assistant.ask(QUESTION), question=QUESTION)
    before = packets()
    await reply.resend()
    again = packets()[len(before) :]
    assert [event for event, _ in again] == ["new_message", "element", "element", "element"]
    assert {data["id"] for _, data in again} <= {data["id"] for _, data in before}
    assert final(again)["output"] == "Hold the reset button for ten seconds. [1]"


async def test_an_unforeseen_error_shows_no_word_of_itself(
    packets: Callable[[], Any], make_assistant: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is for the log; the page gets a sentence and the id."""

    class Broken(ScriptedBackend):
        """Fails in a way that nobody thought of."""

        def stream(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("postgres://user:secret@host")

    await draw(make_assistant(Broken(GOOD)))
    output = final(packets())["output"]
    assert "secret" not in output
    assert "Something went wrong on our side" in output
    assert output.split("`")[1] in caplog.text
    assert "RuntimeError" in caplog.text


async def test_stop_keeps_what_was_there_and_marks_it(packets: Callable[[], Any], make_assistant: Make) -> None:
    """A stopped answer never looks like a whole one, and the model is stopped with it."""
    slm = ScriptedBackend(Script(GOOD.text, logprob=-0.01, pace_s=0.05))
    drawing = asyncio.create_task(draw(make_assistant(slm)))
    await asyncio.sleep(0.3)
    drawing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await drawing
    message = final(packets())
    assert message["output"].startswith("Hold the")
    assert message["output"].endswith("Stopped.")
    metadata = message["metadata"]
    assert (metadata["status"], metadata["reason"], metadata["model"]) == ("partial", "stopped", "scripted stand-in")
    assert [stage["name"] for stage in metadata["latency"]["stages"]][-2:] == ["first_token", "generate"]
    assert elements(packets())["LatencyWaterfall"]["latency"] == metadata["latency"]
    assert slm.open == 0


async def test_stop_during_an_escalation_leaves_a_card_that_is_true(
    packets: Callable[[], Any], make_assistant: Make
) -> None:
    """The large model was asked; it is no longer being asked, and it has not answered."""
    llm = ScriptedBackend(Script(GOOD.text, pace_s=0.05), label="gpt-oss-20b")
    drawing = asyncio.create_task(draw(make_assistant(ScriptedBackend(DOUBTFUL), llm)))
    await asyncio.sleep(0.3)
    drawing.cancel()
    await asyncio.gather(drawing, return_exceptions=True)
    assert elements(packets())["EscalationCard"]["kind"] == "unfinished"
    assert final(packets())["metadata"]["route"] == "escalated"
    assert llm.open == 0


async def test_a_part_is_marked_as_one(packets: Callable[[], Any], make_assistant: Make) -> None:
    """A server that dies in the middle leaves its part, the reason, and a way to ask again."""
    slm = ScriptedBackend(Script(GOOD.text, error=ModelBroke("It broke off."), error_after=3))
    await draw(make_assistant(slm))
    assert "Not complete: It broke off." in final(packets())["output"]
    assert [event for event, _ in packets()].count("action") == 1


async def test_an_edited_question_forgets_what_came_after_it() -> None:
    """History is what is still on the page, whether or not the edited question had been answered."""
    conversation = Conversation()
    for number in "123":
        conversation.before(number)
        if number != "2":
            conversation.add(number, Turn(f"q{number}", f"a{number}"))
    assert [turn.question for turn in conversation.before("2")] == ["q1"]
    conversation.add("2", Turn("q2 edited", "a2"))
    assert [turn.question for turn in conversation.before("new")] == ["q1", "q2 edited"]


async def test_profiles_name_the_models_that_really_answer(make_assistant: Make) -> None:
    """And say plainly when there is no large one, or what is wrong."""
    assistant = make_assistant(ScriptedBackend(GOOD, label="SmolLM2"), mode="refine")
    assistant._model_faults.append("Something is wrong.")
    shown = profiles(assistant)
    assert [profile.name for profile in shown] == ["Refine", "Hybrid", "Local only", "Large only"]
    assert "SmolLM2" in shown[1].markdown_description
    assert "There is no large model" in shown[1].markdown_description
    assert "Something is wrong." in shown[1].markdown_description
    assert [mode_of_profile(profile.name) for profile in shown] == ["refine", "hybrid", "slm", "llm"]


@pytest.mark.parametrize(
    ("escalate", "said"),
    [("auto", None), ("always", "Every question goes straight to"), ("never", "Escalation is switched off")],
)
async def test_profiles_say_what_the_rules_make_of_them(make_assistant: Make, escalate: str, said: str | None) -> None:
    """Only of the modes that escalate; the others are as they are."""
    texts = {
        profile.name: profile.markdown_description
        for profile in profiles(make_assistant(ScriptedBackend(GOOD), ScriptedBackend(GOOD), escalate=escalate))
    }
    assert [name for name, text in texts.items() if "RAG_ESCALATE" in text] == (["Hybrid", "Refine"] if said else [])
    assert said is None or said in texts["Hybrid"]


async def test_starters_fit_the_documents_that_are_searched(make_assistant: Make, docs: Path) -> None:
    """Questions about our manual would only be abstained from in somebody else's folder."""
    assistant = make_assistant(ScriptedBackend(GOOD))
    assert [starter.message for starter in starters(assistant)] == [question for question, _ in STARTERS]
    await assistant.start()
    assert [starter.message for starter in starters(assistant)] == ["Tell me about garden", "Tell me about Ports"]
    (docs / "using-the-chat.md").write_text("# Using the chat\n\nType a question.")
    await assistant.library.refresh()
    assert [starter.message for starter in starters(assistant)] == [question for question, _ in STARTERS]


@pytest.mark.parametrize(
    ("values", "knobs", "mode"),
    [
        pytest.param({}, Knobs(), None, id="nothing changed"),
        pytest.param({"k": 6.0, "mode": "slm"}, Knobs(k=6), "slm", id="sliders send floats"),
        pytest.param({"k": -5, "temperature": 99}, Knobs(k=1, temperature=2), None, id="out of range"),
        pytest.param({"k": "many", "min_confidence": float("nan"), "mode": "x"}, Knobs(), None, id="nonsense"),
        pytest.param({"k": True}, Knobs(), None, id="a boolean is no number"),
    ],
)
async def test_the_panel_cannot_say_what_the_settings_would_refuse(
    values: dict[str, Any], knobs: Knobs, mode: str | None
) -> None:
    """The browser may send anything; what arrives is in range."""
    assert read_panel(values, Knobs()) == (knobs, mode)


async def test_the_page_asks_no_other_host() -> None:
    """Fonts, KaTeX and preview pictures are taken out of Chainlit's own template."""
    page = without_remote_links(get_html_template(""))
    assert "https://" not in page.split("<body>")[0]
    assert "/assets/index-" in page


async def test_a_message_no_longer_sleeps_in_the_event_loop(
    packets: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chainlit sleeps a millisecond for each message while everybody waits; mended, nobody calls the real sleep."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    Message(content="")
    assert slept == [0.001]
    mend_chainlit(forget=lambda uploads: None)
    Message(content="")
    assert slept == [0.001]

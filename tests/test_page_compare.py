"""The page's command /compare, on a real Chainlit session whose packets are recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from rag.assistant import Assistant
from rag.backends.base import Piece
from rag.backends.scripted import Script, ScriptedBackend
from rag.errors import ModelBroke
from rag.prompts import Message
from rag.settings import Settings
from rag.workbench.compare import DEFAULT_PROMPT
from tests.test_page_parts import Make, elements, recorded_packets  # noqa: F401 - a fixture
from ui.choices import commands
from ui.comparing import AnswerColumns, prompt_of
from ui.report import asked_for

pytestmark = pytest.mark.anyio

PROMPT = "Which button must I hold for ten seconds?"


def model(*scripts: Script | str, label: str = "small") -> ScriptedBackend:
    """A model that plays scripts: the first is the answer to the greeting."""
    return ScriptedBackend("Hi.", *scripts, label=label)


async def columns(assistant: Assistant, packets: Any, prompt: str = PROMPT) -> list[dict[str, Any]]:
    """The columns as they are in the end."""
    await assistant.start()
    async with asyncio.timeout(30):
        await AnswerColumns(prompt).draw(assistant, knobs=assistant.knobs)
    shown: list[dict[str, Any]] = elements(packets())["AnswerColumns"]["columns"]
    return shown


def content(packets: Any) -> str:
    """The message as it was in the end."""
    return str([data["output"] for event, data in packets() if event in ("new_message", "update_message")][-1])


async def test_both_answer_the_same_in_two_columns(packets: Any, make_assistant: Make) -> None:
    """With their times and the same evidence; for copies the message has the answers too."""
    slm, llm = model("The reset button."), model("Hold the reset button.", label="large")
    left, right = await columns(make_assistant(slm, llm), packets)
    assert (left["name"], left["text"], left["state"]) == ("small", "The reset button.", "done")
    assert (right["name"], right["text"], right["speed_up"]) == ("large", "Hold the reset button.", 1.0)
    assert left["tokens"] == 3
    assert left["seconds"] >= left["ttft"] >= 0
    assert slm.requests[1] == llm.requests[1]
    assert elements(packets())["AnswerColumns"]["evidence"] > 0
    assert "> `large`: Hold the reset button." in content(packets)
    assert content(packets).startswith("Compared: Which button")


async def test_an_answer_is_seen_while_it_grows_and_the_other_model_waits(packets: Any, make_assistant: Make) -> None:
    """One after the other, as the two share a machine."""
    slow = Script("one two three four", pace_s=0.15)
    await columns(make_assistant(model(slow), model("Well.", label="large")), packets)
    states = [
        tuple(column["state"] for column in data["props"]["columns"])
        for event, data in packets()
        if event == "element" and data["props"]["columns"]
    ]
    assert ("writing", "waiting") in states
    assert states[-1] == ("done", "done")


async def test_a_model_that_is_not_there_or_breaks_is_a_column_with_the_reason(
    packets: Any, make_assistant: Make
) -> None:
    """The other one is shown all the same."""
    left, right = await columns(make_assistant(model("The reset button.")), packets)
    assert (left["state"], right["name"]) == ("done", "gpt-oss-20b")
    assert right["error"].startswith("There is no large model")
    broken = Script("It may be", error=ModelBroke("It broke."), error_after=2)
    left, right = await columns(make_assistant(model(broken), model("Well.", label="large")), packets)
    assert (left["text"], left["error"], right["text"]) == ("It may", "It broke.", "Well.")


async def test_each_model_may_write_as_long_as_in_the_chat(packets: Any, make_assistant: Make) -> None:
    """A large one that thinks first needs more; the message names the setting that would give it more."""
    limits: list[int] = []

    class Limited(ScriptedBackend):
        def stream(
            self, messages: Sequence[Message], *, max_tokens: int, temperature: float
        ) -> AsyncGenerator[Piece, None]:
            limits.append(max_tokens)
            return super().stream(messages, max_tokens=max_tokens, temperature=temperature)

    only_thought = Script("", reasoning="Let me see.", finish="length")
    slm, llm = Limited("Hi.", "It is."), Limited("Hi.", only_thought, label="large")
    assistant = make_assistant(slm, llm, slm_max_tokens=77, llm_max_tokens=999)
    _, right = await columns(assistant, packets)
    assert limits[1::2] == [77, 999]
    assert right["error"] == "large gave an empty answer. It used up its 999 tokens: raise RAG_LLM_MAX_TOKENS."


async def test_stop_keeps_what_was_there_and_the_chats_models_stay(packets: Any, make_assistant: Make) -> None:
    """The model stops, the slot is free again, and the column says that it was stopped."""
    slm = model(Script("one two three", pace_s=0.2))
    assistant = make_assistant(slm, model("Well.", label="large"), slots=1)
    await assistant.start()
    task = asyncio.create_task(AnswerColumns(PROMPT).draw(assistant, knobs=assistant.knobs))
    async with asyncio.timeout(10):
        while len(slm.requests) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.25)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    left, right = elements(packets())["AnswerColumns"]["columns"]
    assert (left["text"], left["state"], right["state"]) == ("one", "stopped", "stopped")
    assert content(packets).endswith("Stopped.")
    assert slm.open == 0
    async with asyncio.timeout(1), assistant.slot():
        pass


async def test_what_cannot_be_compared_is_a_sentence(packets: Any, make_assistant: Make) -> None:
    """In the place of the columns."""
    assistant = make_assistant(model("Well."), slots=1, queue_limit=0, max_question_chars=100)
    await assistant.start()
    await AnswerColumns("x" * 101).draw(assistant, knobs=assistant.knobs)
    assert "The prompt has 101 characters; the limit is 100. Please shorten it." in content(packets)
    async with assistant.slot():
        await AnswerColumns(PROMPT).draw(assistant, knobs=assistant.knobs)
    assert "questions are already waiting" in content(packets)


def test_the_command_is_listed_and_takes_what_stands_behind_it() -> None:
    """By its list, or typed; without words, the prompt of the settings, else ours."""
    assert [one["id"] for one in commands()] == ["docs", "compare", "check"]
    assert asked_for("/compare Why?", None, name="compare") == "Why?"
    assert asked_for("Why?", "compare", name="compare") == "Why?"
    assert asked_for("/compared?", None, name="compare") is None
    assert prompt_of(" Why? ", Settings(compare_prompt="x")) == "Why?"
    assert prompt_of("", Settings(compare_prompt="x")) == "x"
    assert prompt_of("", Settings()) == DEFAULT_PROMPT

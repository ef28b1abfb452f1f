"""The whole way of a question, on scripted models."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rag.assistant import Assistant, Knobs, build_assistant
from rag.backends.choose import Models
from rag.backends.scripted import Script, ScriptedBackend
from rag.check import look_at
from rag.confidence import Confidence
from rag.errors import Busy, DocumentsError, ModelBroke, QuestionError
from rag.events import Answer, Answered, Cost, Escalated, Retrieved, Token, Verdict, Waiting
from rag.prompts import SYSTEM, Turn
from rag.rules import Ledger
from rag.settings import Settings
from rag.timings import Stopwatch
from tests.conftest import events_of
from tests.model_server import model_server, models

pytestmark = pytest.mark.anyio

Make = Callable[..., Assistant]
QUESTION = "Which button must I hold for ten seconds?"
GOOD = Script("Hold the reset button for ten seconds.", logprob=-0.01)
DOUBTFUL = Script("Monks in Lyon hold it.", logprob=-3.0)


async def answer_of(assistant: Assistant, question: str = QUESTION, **options: object) -> Answer:
    """The terminal event's answer."""
    events = await events_of(assistant.ask(question, **options))  # type: ignore[arg-type]
    assert isinstance(events[-1], Answered)
    return events[-1].answer


async def test_events_come_in_the_order_of_the_contract(make_assistant: Make) -> None:
    """Retrieved, tokens, at most one escalation with more tokens, one answer."""
    assistant = make_assistant(ScriptedBackend(DOUBTFUL), ScriptedBackend("Ten seconds."))
    await assistant.start()
    kinds = [type(event) for event in await events_of(assistant.ask(QUESTION))]
    assert [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind] == [
        Retrieved, Token, Escalated, Token, Answered,
    ]  # fmt: skip


async def test_a_kept_draft_is_cited_from_the_documents(make_assistant: Make) -> None:
    """The citation points at the very characters of the file."""
    answer = await answer_of(make_assistant(ScriptedBackend(GOOD)))
    assert answer.text == "Hold the reset button for ten seconds. [1]"
    (citation,) = answer.citations
    assert citation.evidence.chunk.document == "ports.md"
    assert citation.evidence.quote == "Hold the reset button for ten seconds to restore the factory settings."


async def test_a_small_model_may_be_shown_less_than_the_large_one(docs: Path) -> None:
    """The best sentence; what escalates still has all the evidence."""
    slm, llm = ScriptedBackend(DOUBTFUL), ScriptedBackend("Ten seconds.")
    question = "Which button must I hold, and which port does the chat use?"
    assistant = build_assistant(Settings(docs_dir=docs), models=Models(slm, llm, most_sentences=1))
    (retrieved,) = [one for one in await events_of(assistant.ask(question)) if isinstance(one, Retrieved)]
    shown, all_shown = slm.requests[0][-1]["content"], llm.requests[0][-1]["content"]
    assert len(retrieved.evidence) > 1
    assert [one.text in shown for one in retrieved.evidence] == [True] + [False] * (len(retrieved.evidence) - 1)
    assert all(one.text in all_shown for one in retrieved.evidence)


async def test_the_metadata_has_the_shape_of_the_contract(make_assistant: Make) -> None:
    """What the page draws, the history keeps, and `--json` prints."""
    answer = await answer_of(make_assistant(ScriptedBackend(DOUBTFUL), ScriptedBackend("Ten seconds, I say.")))
    metadata = answer.to_metadata()
    assert set(metadata) == {
        "model", "route", "status", "reason", "confidence", "draft", "latency", "usage", "cost", "searched", "sources",
    }  # fmt: skip
    assert metadata["model"] == "scripted stand-in"
    assert metadata["route"] == "escalated"
    assert metadata["confidence"]["signal"] == "logprob+support"
    assert set(metadata["confidence"]) == {"value", "signal", "threshold", "kept_at", "parts"}
    assert all(set(part) == {"name", "value", "weight"} for part in metadata["confidence"]["parts"])
    assert metadata["confidence"]["threshold"] == 0.60
    assert set(metadata["draft"]) == {"tokens", "at_most", "ms", "stopped"}
    assert json.dumps(metadata)
    assert set(metadata["usage"]["slm"]) == {"prompt", "completion"}
    assert metadata["usage"]["llm"]["completion"] == 4
    assert metadata["cost"]["local"] == 0.0
    assert metadata["cost"]["cloud_equivalent"] > 0


async def test_stages_sum_to_the_total_and_do_not_overlap(make_assistant: Make) -> None:
    """Within two in a hundred, whatever the route."""
    slm = ScriptedBackend(Script(DOUBTFUL.text, logprob=-3.0, pace_s=0.01))
    large = ScriptedBackend(Script("Ten seconds.", pace_s=0.01))
    for llm, question in [(None, QUESTION), (large, QUESTION), (None, "zebra?")]:
        latency = (await answer_of(make_assistant(slm, llm), question)).to_metadata()["latency"]
        assert sum(stage["ms"] for stage in latency["stages"]) == pytest.approx(latency["total_ms"], rel=0.02)
        ends = 0.0
        for stage in latency["stages"]:
            assert stage["start_ms"] == pytest.approx(ends, abs=0.05)
            ends = stage["start_ms"] + stage["ms"]
        assert 0 < latency["ttft_ms"] <= latency["total_ms"]


async def test_reasoning_is_in_the_metadata_where_there_is_some(make_assistant: Make) -> None:
    """Its text, time and tokens, and whose it is; the stages still sum to the total."""
    slm = ScriptedBackend(Script(GOOD.text, logprob=-0.01, pace_s=0.01, reasoning="The manual names a button."))
    metadata = (await answer_of(make_assistant(slm))).to_metadata()
    reasoning, latency = metadata["reasoning"], metadata["latency"]
    stages = {stage["name"]: stage["ms"] for stage in latency["stages"]}
    assert (reasoning["text"], reasoning["tokens"], reasoning["model"]) == (
        "The manual names a button.", 5, "scripted stand-in",
    )  # fmt: skip
    assert reasoning["ms"] == stages["reasoning"] > 30
    assert list(stages)[-5:] == ["send", "first_token", "reasoning", "generate", "judge"]
    assert sum(stages.values()) == pytest.approx(latency["total_ms"], rel=0.02)
    assert latency["ttft_ms"] > stages["reasoning"]
    assert metadata["usage"]["slm"]["reasoning"] == 5
    assert json.dumps(metadata)


@pytest.mark.parametrize(
    ("slm", "llm", "model"),
    [
        pytest.param(GOOD, None, None, id="nobody thought"),
        pytest.param(replace(DOUBTFUL, reasoning="Hm."), None, "small", id="quoted: the draft's"),
        pytest.param(replace(DOUBTFUL, reasoning="Hm."), Script("Ten seconds."), None, id="the draft's is set aside"),
        pytest.param(DOUBTFUL, Script("Ten seconds.", reasoning="Hm."), "large", id="the large model's"),
        pytest.param(DOUBTFUL, Script("", reasoning="Hm."), "large", id="quoted: the large model only thought"),
    ],
)
async def test_the_reasoning_is_that_of_the_model_that_answered(
    make_assistant: Make, slm: Script, llm: Script | None, model: str | None
) -> None:
    """Where the documents speak instead: that of the last model that thought."""
    large = ScriptedBackend(llm, label="large") if llm else None
    answer = await answer_of(make_assistant(ScriptedBackend(slm, label="small"), large))
    assert (answer.reasoning and answer.reasoning.model) == model
    assert ("reasoning" in answer.to_metadata()) == (model is not None)
    assert "Hm." not in answer.text


async def test_the_check_greets_a_model_that_thinks_first(make_assistant: Make) -> None:
    """Four tokens are too few for an answer of it; that is no fault."""
    thinks = make_assistant(ScriptedBackend(Script("", reasoning="The user greets me.", finish="length")))
    await thinks.start()
    (found,) = [one for one in await look_at(thinks) if one.name == "SLM"]
    assert (found.state, found.text.rpartition(", ")[2]) == ("ok", "reasons at first")


async def test_a_doubtful_draft_without_a_large_model_becomes_a_labelled_quotation(make_assistant: Make) -> None:
    """The documents' own words, with their source, and the draft is still there to read."""
    answer = await answer_of(make_assistant(ScriptedBackend(DOUBTFUL)))
    assert answer.route == "quoted"
    assert answer.text.startswith("**The documents say:**\n\n> Hold the reset button for ten seconds")
    assert answer.text.count("[1]") == 1
    assert (answer.draft, answer.model, answer.unsupported) == (DOUBTFUL.text, "", 0)
    assert answer.reason is not None
    assert answer.reason.startswith("low confidence")


async def test_a_model_that_finds_no_answer_is_believed_and_the_nearest_is_quoted(make_assistant: Make) -> None:
    """It is no answer; the sources are there to look at, and to ask about."""
    answer = await answer_of(make_assistant(ScriptedBackend("The context does not mention it at all.")))
    assert (answer.route, answer.reason) == ("abstained", "the draft says that the documents do not say")
    assert answer.text.startswith("**The documents do not say. This comes nearest:**\n\n> Hold the reset button")
    assert answer.citations
    assert (answer.model, answer.plain, answer.draft) == ("", "", "The context does not mention it at all.")
    assert answer.remembered.startswith("Hold the reset button")  # 'And for how long?' refers to it


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        pytest.param("Who won the chess olympiad?", "no document shares a word", id="other subject"),
        pytest.param("the of and", "no word to search for", id="only stop words"),
        pytest.param("🙂🎉", "no word to search for", id="emoji"),
        pytest.param("यो के हो?", "no document shares a word", id="another script"),
        pytest.param("chess olympiad trophy winners of the chat", "weak evidence", id="one word in common"),
    ],
)
async def test_what_the_documents_do_not_say_is_said_without_a_model(
    make_assistant: Make, question: str, reason: str
) -> None:
    """No evidence, no draft: the nearest documents are named instead."""
    slm = ScriptedBackend(GOOD)
    answer = await answer_of(make_assistant(slm), question)
    assert answer.route == "abstained"
    assert answer.text.startswith("The documents do not say. The nearest ones are: `")
    assert reason in (answer.reason or "")
    assert slm.requests == []


async def test_a_typing_error_still_finds_the_nearest_document(make_assistant: Make) -> None:
    """Shared letters, where no word matches."""
    assistant = make_assistant(ScriptedBackend(GOOD))
    answer = await answer_of(assistant, "firewal")
    assert answer.text.index("ports.md") < answer.text.index("garden.txt")


@pytest.mark.parametrize("question", ["", "   ", "\n"])
async def test_an_empty_question_is_refused_in_words(make_assistant: Make, question: str) -> None:
    """Nothing is searched or generated."""
    with pytest.raises(QuestionError, match="The question is empty"):
        await answer_of(make_assistant(ScriptedBackend(GOOD)), question)


async def test_a_huge_question_is_refused_with_its_size_and_the_limit(make_assistant: Make) -> None:
    """Two megabytes are nobody's question; the setting to change is named."""
    with pytest.raises(QuestionError, match=r"2,000,000 characters; the limit is 8,000 \(RAG_MAX_QUESTION_CHARS\)"):
        await answer_of(make_assistant(ScriptedBackend(GOOD)), "x" * 2_000_000)


async def test_without_documents_the_question_says_so_and_works_once_they_are_there(tmp_path: Path) -> None:
    """The chat is usable afterwards, without a restart."""
    folder = tmp_path / "later"
    slm = ScriptedBackend(GOOD)
    assistant = build_assistant(Settings(docs_dir=folder), models=Models(slm, None, "none"))
    await assistant.start()
    assert assistant.faults[0].startswith(f"No folder {folder}")
    with pytest.raises(DocumentsError, match="Make it, or set RAG_DOCS_DIR"):
        await answer_of(assistant)
    folder.mkdir()
    (folder / "a.md").write_text("Hold the reset button for ten seconds.\n\nOther.\n\nMore.")
    assert (await answer_of(assistant)).route == "slm"


async def test_history_goes_into_the_prompt_shortened_and_limited(make_assistant: Make) -> None:
    """The last turns only, the system prompt always first and always the same."""
    slm = ScriptedBackend(GOOD)
    assistant = make_assistant(slm, history_turns=2)
    turns = [Turn(f"Question {n}?", "word " * 500) for n in range(5)]
    await answer_of(assistant, history=turns)
    messages = slm.requests[0]
    assert messages[0] == {"role": "system", "content": SYSTEM}
    assert [message["content"] for message in messages if message["role"] == "user"][:-1] == [
        "Question 3?", "Question 4?",
    ]  # fmt: skip
    assert all(len(m["content"].split()) == 60 for m in messages if m["role"] == "assistant")


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (1, 1), (3, 3), (5, 5), (7, 5)])
async def test_history_shorter_than_its_limit_is_taken_whole(make_assistant: Make, count: int, kept: int) -> None:
    """No turn is lost because there are few of them."""
    slm = ScriptedBackend(GOOD)
    await answer_of(make_assistant(slm, history_turns=5), history=[Turn(f"q{n}", f"a{n}") for n in range(count)])
    asked = [message["content"] for message in slm.requests[0] if message["role"] == "user"][:-1]
    assert asked == [f"q{n}" for n in range(count)][count - kept :]


async def test_what_goes_into_the_history_has_no_marks(make_assistant: Make) -> None:
    """A model that sees our marks repeats them; a quotation is remembered by its words."""
    assert (await answer_of(make_assistant(ScriptedBackend(GOOD)))).plain == "Hold the reset button for ten seconds."
    quoted = await answer_of(make_assistant(ScriptedBackend(DOUBTFUL)))
    assert quoted.plain == "Hold the reset button for ten seconds to restore the factory settings."
    assert (await answer_of(make_assistant(ScriptedBackend(GOOD)), "zebra?")).plain == ""


async def test_knobs_change_one_question_only(make_assistant: Make) -> None:
    """A reader's panel is not everybody's."""
    assistant = make_assistant(ScriptedBackend(GOOD))
    assert (await answer_of(assistant, knobs=Knobs(min_confidence=1.0))).route == "quoted"
    assert (await answer_of(assistant)).route == "slm"


async def test_the_rules_of_the_settings_hold(make_assistant: Make) -> None:
    """Each of them reaches the router."""
    slm, llm = ScriptedBackend(GOOD), ScriptedBackend("Ten seconds.")
    for settings, reason in [
        ({"escalate": "always"}, "every question is escalated"),
        ({"escalate_topics": ["BUTTON"]}, "flagged topic: BUTTON"),
        ({"weak_coverage": 1.0}, "weak evidence: 0."),
    ]:
        answer = await answer_of(make_assistant(slm, llm, **settings), f"{QUESTION} And the flange?")
        assert (answer.route, answer.slm, answer.confidence, answer.draft) == ("escalated", "", None, None)
        assert (answer.reason or "").startswith(reason)
    assert slm.requests == []
    stopped = await answer_of(make_assistant(ScriptedBackend(DOUBTFUL), early_tokens=2, early_confidence=0.5))
    assert (stopped.reason or "").startswith("hopeless after 2 tokens: ")
    never = await answer_of(make_assistant(ScriptedBackend(DOUBTFUL), llm, escalate="never"))
    assert (never.reason or "").endswith("; escalation is switched off (RAG_ESCALATE)")


async def test_limits_hold_for_the_chat_and_for_the_minute(make_assistant: Make) -> None:
    """A chat's count is the caller's, the minute's is the assistant's, also when its router is made anew."""
    slm, llm = ScriptedBackend(DOUBTFUL), ScriptedBackend("Ten seconds.")
    assistant, chat = make_assistant(slm, llm, escalations_per_chat=1), Ledger()
    assert [(await answer_of(assistant, chat=chat)).route for _ in range(2)] == ["escalated", "quoted"]
    assert (await answer_of(assistant)).route == "escalated"
    assistant = make_assistant(slm, llm, escalations_per_minute=1)
    assert (await answer_of(assistant)).route == "escalated"
    assistant._model_faults.append("Something is wrong.")
    await assistant.look_again()
    assert (await answer_of(assistant)).reason.endswith("; limit of 1 escalation a minute reached")  # type: ignore[union-attr]


async def test_a_large_model_that_is_too_slow_for_its_budget_is_spared(make_assistant: Make) -> None:
    """The budget is given in milliseconds."""
    slm, llm = ScriptedBackend(DOUBTFUL), ScriptedBackend(Script("Ten seconds.", pace_s=0.02))
    assistant = make_assistant(slm, llm, llm_ttft_budget_ms=5)
    routes = [(await answer_of(assistant)).route for _ in range(4)]
    assert routes == ["escalated", "escalated", "escalated", "quoted"]


async def test_a_confidence_just_below_its_threshold_is_never_the_same_number() -> None:
    """0.5996 would be 0.6 in the metadata, which would have been kept."""
    answer = Answer(
        "", "", "quoted", "complete", None, Confidence(0.5996, "support"), (), 0, None, None,
        Stopwatch().timings(), Cost(), verdict=Verdict(0.60, 0.55, 8, 160, 0.1),
    )  # fmt: skip
    assert answer.to_metadata()["confidence"]["value"] == 0.599


async def test_a_question_before_the_start_waits_for_it(make_assistant: Make) -> None:
    """The page opens before the model is loaded, and says what it waits for."""
    assistant = make_assistant(ScriptedBackend(GOOD))
    events = await events_of(assistant.ask(QUESTION))
    assert isinstance(events[0], Waiting)
    assert isinstance(events[-1], Answered)


async def test_the_second_question_sees_its_place_in_the_queue(make_assistant: Make) -> None:
    """With one slot, the line is visible, its time is a stage, and everybody is served."""
    slm = ScriptedBackend(Script(GOOD.text, logprob=-0.01, pace_s=0.01))
    assistant = make_assistant(slm, slots=1, queue_limit=1)
    await assistant.start()
    first = asyncio.create_task(events_of(assistant.ask(QUESTION)))
    await asyncio.sleep(0.02)
    second = asyncio.create_task(events_of(assistant.ask(QUESTION)))
    await asyncio.sleep(0.01)
    with pytest.raises(Busy):
        await answer_of(assistant)
    assert isinstance((await first)[-1], Answered)
    events = await second
    assert events[0] == Waiting("queue", "All slots are busy. Your place in the queue: 1")
    assert events[-1].answer.timings.stages[0].name == "queue"


async def test_a_cancelled_question_frees_its_slot_and_stops_the_model(make_assistant: Make) -> None:
    """Stop, and the next question is answered at once."""
    slm = ScriptedBackend(Script(GOOD.text, logprob=-0.01, pace_s=0.05))
    assistant = make_assistant(slm, slots=1)
    await assistant.start()
    running = asyncio.create_task(events_of(assistant.ask(QUESTION)))
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert slm.open == 0
    events = await events_of(assistant.ask(QUESTION))
    assert not any(isinstance(event, Waiting) for event in events)


async def test_a_model_that_dies_leaves_the_evidence(make_assistant: Make) -> None:
    """The answer is a quotation, and the reason is the fault in words."""
    slm = ScriptedBackend(Script("", error=ModelBroke("The model server at x broke off.")))
    answer = await answer_of(make_assistant(slm))
    assert (answer.route, answer.reason) == ("quoted", "The model server at x broke off.")


async def test_without_any_model_the_evidence_is_quoted(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without its model still answers in the documents' own words, and says why."""
    assistant = build_assistant(Settings(docs_dir=docs))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    answer = await answer_of(assistant)
    assert answer.route == "quoted"
    assert answer.reason == "The embedded model is not installed. Run make setup, or set RAG_SLM_URL."


async def test_the_large_model_answers_where_the_small_one_is_not_installed(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One missing model must not take the other one away."""
    monkeypatch.setattr("rag.backends.foundry.USUAL_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    async with model_server(listed=models("gpt-oss-20b")) as server:
        assistant = build_assistant(Settings(docs_dir=docs, llm_url=server.url))
        answer = await answer_of(assistant)
        await assistant.stop()
    assert (answer.route, answer.text) == ("escalated", "Hello world [no source]")
    assert (answer.reason or "").startswith("The embedded model is not installed")


async def test_a_server_that_comes_up_later_is_found_by_the_next_chat(docs: Path) -> None:
    """With the large model that it lists, and without the old warning."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assistant = build_assistant(Settings(docs_dir=docs, slm_url=f"http://127.0.0.1:{port}"))
    await assistant.start()
    await assistant.look_again()
    assert assistant.faults[0].startswith("No model server at")
    assert (await answer_of(assistant)).route == "quoted"
    async with model_server(listed=models("phi-4-mini", "gpt-oss-20b"), port=port):
        await assistant.look_again()
        assert assistant.faults == []
        assert assistant.models is not None
        assert assistant.models.llm is not None
        assert (await answer_of(assistant)).text == "Hello world [no source]"
    await assistant.stop()


async def test_costs_are_unknown_without_usage_or_price(make_assistant: Make) -> None:
    """Never zero, and never a part, where the whole is not known."""
    broken = ScriptedBackend(Script("", error=ModelBroke("It broke.")))
    mixed = await answer_of(make_assistant(broken, ScriptedBackend("Ten seconds.")))
    assert (mixed.usage_llm is not None, mixed.cost.cloud_equivalent) == (True, None)
    assistant = make_assistant(ScriptedBackend(GOOD), cloud_price_in=None)
    assert (await answer_of(assistant)).cost.cloud_equivalent is None


@pytest.mark.model
async def test_the_real_embedded_model_answers_through_the_real_pipeline(docs: Path) -> None:
    """Nothing is scripted: found, loaded, drafted, judged, cited or quoted, timed."""
    assistant = build_assistant(Settings(docs_dir=docs))
    await assistant.start()
    try:
        assert assistant.models is not None
        assert assistant.models.slm.label == "SmolLM2-135M-Instruct"
        answer = await answer_of(assistant, "Which port does the chat listen on?")
    finally:
        await assistant.stop()
    assert "8000" in answer.text
    assert answer.route in ("slm", "quoted")
    assert answer.citations[0].evidence.chunk.document == "ports.md"
    assert answer.usage_slm is not None
    assert answer.usage_slm.completion > 0
    assert answer.confidence is not None
    assert answer.confidence.signal == "logprob+support"

"""The hybrid router: keep, escalate, refine or quote."""

from __future__ import annotations

from typing import Any

import pytest

from rag.backends.scripted import Script, ScriptedBackend
from rag.calibration import Calibration
from rag.chunking import Chunk
from rag.confidence import Confidence
from rag.errors import ModelBroke, ModelUnavailable
from rag.events import Escalated, Token, Waiting
from rag.evidence import sentences_of
from rag.generation import Reply, Task
from rag.prompts import build_messages
from rag.router import HybridRouter, Routed, reason_to_escalate, reason_to_refine
from tests.conftest import events_of

EVIDENCE = tuple(sentences_of(Chunk("The chat listens on port 8000.", "ports.md")))
QUESTION = "Which port does the chat use?"
GOOD = Script("The chat listens on port 8000.", logprob=-0.01)
DOUBTFUL = Script("It may be somewhere in Lyon.", logprob=-3.0)
ANSWER = "Port 8000, says the manual."
# Weights of its own, so that what the router does is not tested by what the shipped ones happen to be.
PLAIN = Calibration(
    "scripted",
    {"bias": -1.94, "support": 1.78, "coverage": 1.28, "logprob": 1.68},
    {"bias": -2.94, "support": 2.09, "coverage": 1.37},
)


async def route(slm: ScriptedBackend, llm: ScriptedBackend | None = None, **options: Any) -> list[Any]:
    """All events of one question."""
    names = ("refine_over_chars", "refine_topics", "rules", "ledger", "clock", "slm_max_tokens")
    router_options = {name: options.pop(name) for name in names if name in options}
    task = Task(QUESTION, EVIDENCE, build_messages(QUESTION, EVIDENCE), **{"calibration": PLAIN, **options})
    return await events_of(HybridRouter(slm, llm, **router_options).answer(task))


def text_of(events: list[Any]) -> str:
    """What was streamed."""
    return "".join(event.text for event in events if isinstance(event, Token))


@pytest.mark.parametrize(
    ("text", "confidence", "reason"),
    [
        pytest.param("one two three", 0.60, None, id="exactly at both thresholds"),
        pytest.param("one two", 0.90, "short draft: 2 < 3 words", id="one word too short"),
        pytest.param("one two three", 0.599, "low confidence: 0.59 < 0.60", id="just below, never shown as equal"),
        pytest.param("one two three", None, "unknown confidence", id="unknown is not high"),
        pytest.param("", 0.99, "empty draft", id="empty"),
        pytest.param("one", 0.1, "short draft: 1 < 3 words", id="both: the length is named"),
    ],
)
def test_the_reason_to_escalate_is_a_sentence_with_the_numbers(
    text: str, confidence: float | None, reason: str | None
) -> None:
    """Below a threshold escalates, at the threshold keeps."""
    draft = Reply(text, confidence=None if confidence is None else Confidence(confidence, "support"))
    assert reason_to_escalate(draft, min_words=3, min_confidence=0.60) == reason


def test_a_script_without_spaces_is_not_short() -> None:
    """Two of its characters count as a word."""
    draft = Reply("ポートは八千です。", confidence=Confidence(0.9, "support"))
    assert reason_to_escalate(draft, min_words=3, min_confidence=0.60) is None


def test_a_doubt_about_the_words_comes_before_the_confidence_and_after_the_length() -> None:
    """Unless every draft is to be kept."""
    draft = Reply("one two three", confidence=Confidence(0.1, "support"))
    assert reason_to_escalate(draft, min_words=3, min_confidence=0.60, doubt="no such port") == "no such port"
    assert reason_to_escalate(draft, min_words=4, min_confidence=0.60, doubt="x") == "short draft: 3 < 4 words"
    assert reason_to_escalate(draft, min_words=3, min_confidence=0.0, doubt="x") is None


SURE = Calibration("scripted", {"bias": 9.0}, {"bias": 9.0})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "reason", "quoted"),
    [
        pytest.param("The chat listens on port 9000.", "the documents do not say 9000", "quoted", id="number"),
        pytest.param("Monks in Lyon brewed it.", "no sentence of the draft is supported", "quoted", id="no source"),
        pytest.param(
            "The context does not say it.", "the draft says that the documents do not say", "abstained", id="nothing"
        ),
    ],
)
async def test_no_confidence_lets_a_draft_stand_that_the_documents_do_not_bear_out(
    text: str, reason: str, quoted: str
) -> None:
    """With a large model it is asked; without one the documents speak, or there is nothing to say."""
    alone = (await route(ScriptedBackend(text), calibration=SURE))[-1]
    assert (alone.route, alone.reason, alone.verdict.kept_at) == (quoted, reason, None)
    together = (await route(ScriptedBackend(text), ScriptedBackend(ANSWER), calibration=SURE))[-1]
    assert (together.route, together.reason, together.final.text) == ("escalated", reason, ANSWER)
    kept = (await route(ScriptedBackend(text), calibration=SURE, min_confidence=0.0))[-1]
    assert (kept.route, kept.final.text) == ("slm", text)


@pytest.mark.parametrize(
    ("text", "topics", "reason"),
    [
        pytest.param("x" * 600, (), None, id="exactly at the limit"),
        pytest.param("x" * 601, (), "long draft: 601 > 600 characters", id="one over"),
        pytest.param("x", ("PORT",), "flagged topic: PORT", id="topic, any case"),
        pytest.param("x", ("garden",), None, id="another topic"),
    ],
)
def test_the_reason_to_refine_is_length_or_topic(text: str, topics: tuple[str, ...], reason: str | None) -> None:
    """Longer than the limit, or the question matches a pattern."""
    assert reason_to_refine(Reply(text), QUESTION, over_chars=600, topics=topics) == reason


@pytest.mark.anyio
async def test_a_good_draft_is_kept_and_the_large_model_is_not_asked() -> None:
    """The reader sees the draft as it grows, and it stands."""
    llm = ScriptedBackend(ANSWER)
    events = await route(ScriptedBackend(GOOD), llm)
    assert text_of(events) == GOOD.text
    assert events[-1].route == "slm"
    assert events[-1].reason is None
    assert llm.requests == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("said", "text"),
    [
        pytest.param(f"- {GOOD.text}", GOOD.text, id="copied with its dash"),
        pytest.param(f"- {GOOD.text}\n- {GOOD.text}", f"- {GOOD.text}\n- {GOOD.text}", id="a list stays one"),
        pytest.param("-5 degrees, port 8000.", "-5 degrees, port 8000.", id="a sign"),
    ],
)
async def test_a_dash_that_came_with_the_evidence_is_no_list(said: str, text: str) -> None:
    """Small models copy it; a list of one item is none."""
    routed = (await route(ScriptedBackend(Script(said, logprob=-0.01)), min_confidence=0.0))[-1]
    assert routed.final.text == text


@pytest.mark.anyio
async def test_low_confidence_draft_is_escalated() -> None:
    """A draft below the threshold is set aside and the large model answers the same prompt."""
    slm, llm = ScriptedBackend(DOUBTFUL), ScriptedBackend(ANSWER)
    events = await route(slm, llm)
    (escalated,) = [event for event in events if isinstance(event, Escalated)]
    assert escalated.draft == DOUBTFUL.text
    assert escalated.reason.startswith("low confidence: 0.0")
    assert escalated.reason.endswith("< 0.60")
    after = events[events.index(escalated) + 1 :]
    assert text_of(after) == ANSWER
    assert events[-1].route == "escalated"
    assert llm.requests == slm.requests


@pytest.mark.anyio
async def test_without_a_large_model_a_doubtful_draft_gives_way_to_a_quotation() -> None:
    """The draft is kept for the reader, but it does not stand."""
    routed = (await route(ScriptedBackend(DOUBTFUL)))[-1]
    assert (routed.route, routed.final.text, routed.draft.text) == ("quoted", "", DOUBTFUL.text)


@pytest.mark.anyio
async def test_local_only_never_asks_the_large_model() -> None:
    """The mode is a promise about where the question goes."""
    llm = ScriptedBackend(ANSWER)
    assert (await route(ScriptedBackend(DOUBTFUL), llm, mode="slm"))[-1].route == "quoted"
    assert llm.requests == []


@pytest.mark.anyio
async def test_large_only_never_asks_the_small_model() -> None:
    """And says so when there is no large one."""
    slm, llm = ScriptedBackend(GOOD), ScriptedBackend(ANSWER)
    events = await route(slm, llm, mode="llm")
    assert (events[-1].route, events[-1].final.text, slm.requests) == ("llm", ANSWER, [])
    with pytest.raises(ModelUnavailable, match="Set RAG_LLM_URL"):
        await route(slm, mode="llm")


@pytest.mark.anyio
@pytest.mark.parametrize("error_after", [0, 2], ids=["before the first word", "in the middle"])
async def test_a_large_model_that_fails_leaves_quotation_or_a_marked_part(error_after: int) -> None:
    """Nothing it said is lost, and a part never passes for the whole."""
    llm = ScriptedBackend(Script(ANSWER, error=ModelBroke("It broke."), error_after=error_after))
    routed = (await route(ScriptedBackend(DOUBTFUL), llm))[-1]
    if error_after:
        assert (routed.route, routed.status, routed.final.text) == ("escalated", "partial", "Port 8000,")
    else:
        assert (routed.route, routed.status) == ("quoted", "complete")
        assert routed.draft.text == DOUBTFUL.text
    assert routed.reason.endswith("< 0.60; It broke")


@pytest.mark.anyio
async def test_a_large_model_that_dies_while_polishing_leaves_the_whole_draft() -> None:
    """A good draft is worth more than the stump of a better one."""
    llm = ScriptedBackend(Script(ANSWER, error=ModelBroke("It broke."), error_after=2))
    routed = (await route(ScriptedBackend(GOOD), llm, mode="refine", refine_over_chars=5))[-1]
    assert (routed.route, routed.status, routed.final.text) == ("slm", "complete", GOOD.text)


@pytest.mark.anyio
async def test_a_server_that_ignores_the_limit_is_stopped() -> None:
    """It would hold its slot for ever."""
    llm = ScriptedBackend(Script(" ".join(f"w{n}" for n in range(2000))))
    routed = (await route(ScriptedBackend(GOOD), llm, mode="llm"))[-1]
    assert (routed.status, len(routed.final.text.split())) == ("partial", 801)
    assert llm.open == 0


@pytest.mark.anyio
@pytest.mark.parametrize("error_after", [0, 2], ids=["before the first word", "in the middle"])
async def test_a_small_model_that_fails_is_replaced_by_the_large_one(error_after: int) -> None:
    """The reason is the failure, and what was shown of the draft is kept with it."""
    slm = ScriptedBackend(Script(GOOD.text, error=ModelBroke("It broke."), error_after=error_after))
    events = await route(slm, ScriptedBackend(ANSWER))
    (escalated,) = [event for event in events if isinstance(event, Escalated)]
    assert escalated == Escalated("It broke.", "The chat" if error_after else "")
    assert (events[-1].route, events[-1].final.text) == ("escalated", ANSWER)


@pytest.mark.anyio
async def test_a_small_model_that_fails_alone_leaves_its_part_or_a_quotation() -> None:
    """With text it is a marked part; without, the evidence speaks."""
    for error_after, route_, status in [(2, "slm", "partial"), (0, "quoted", "complete")]:
        slm = ScriptedBackend(Script(GOOD.text, error=ModelBroke("It broke."), error_after=error_after))
        routed = (await route(slm))[-1]
        assert (routed.route, routed.status, routed.reason) == (route_, status, "It broke.")


@pytest.mark.anyio
async def test_an_answer_cut_at_its_limit_is_never_shown_as_complete() -> None:
    """A cut draft is a doubtful one; a cut answer of the large model is marked. The setting to raise is named."""
    cut = ScriptedBackend(Script(GOOD.text, logprob=-0.01, finish="length"))
    routed = (await route(cut))[-1]
    assert (routed.route, routed.reason) == (
        "quoted", "the answer was cut at the limit of 160 tokens (RAG_SLM_MAX_TOKENS)",
    )  # fmt: skip
    routed = (await route(cut, ScriptedBackend(Script(ANSWER, finish="length"))))[-1]
    assert (routed.route, routed.status, routed.final.text) == ("escalated", "partial", ANSWER)
    assert routed.reason.endswith("(RAG_LLM_MAX_TOKENS)")


@pytest.mark.anyio
async def test_a_draft_that_loops_is_stopped_and_set_aside() -> None:
    """Each round of a loop is as well supported as the first, and costs the reader the same time."""
    loop = ScriptedBackend(Script("The chat listens on port 8000 of this machine. " * 30, logprob=-0.01))
    events = await route(loop)
    assert (events[-1].route, events[-1].reason) == ("quoted", "the draft repeats itself")
    assert len(text_of(events).split()) < 40
    assert loop.open == 0


@pytest.mark.anyio
async def test_refine_polishes_a_flagged_topic_from_draft_and_evidence() -> None:
    """The large model sees the draft and the same evidence."""
    llm = ScriptedBackend(ANSWER)
    events = await route(ScriptedBackend(GOOD), llm, mode="refine", refine_topics=["port"])
    assert (events[-1].route, events[-1].reason) == ("refined", "flagged topic: port")
    prompt = llm.requests[0][-1]["content"]
    assert GOOD.text in prompt
    assert EVIDENCE[0].text in prompt


@pytest.mark.anyio
async def test_refine_keeps_a_short_draft_and_survives_a_missing_large_model() -> None:
    """Polishing is a favour, not a need."""
    assert (await route(ScriptedBackend(GOOD), ScriptedBackend(ANSWER), mode="refine"))[-1].route == "slm"
    broken = ScriptedBackend(Script("", error=ModelBroke("It broke.")))
    for llm in (None, broken):
        routed = (await route(ScriptedBackend(GOOD), llm, mode="refine", refine_over_chars=5))[-1]
        assert (routed.route, routed.final.text, routed.status) == ("slm", GOOD.text, "complete")
        assert routed.reason.startswith("not polished (")


@pytest.mark.anyio
async def test_a_model_that_must_be_loaded_says_so_first() -> None:
    """The wait is named, and its time is a stage of its own."""

    class Sleeping(ScriptedBackend):
        """Not loaded until it is started."""

        async def start(self) -> None:
            self.ready = True

    llm = Sleeping(ANSWER, label="gpt-oss-20b")
    llm.ready = False
    events = await route(ScriptedBackend(DOUBTFUL), llm)
    assert Waiting("model", "Loading gpt-oss-20b …") in events


@pytest.mark.anyio
async def test_stages_of_both_models_are_told_apart() -> None:
    """The large model's stages carry the prefix `llm_`."""
    task = Task(QUESTION, EVIDENCE, build_messages(QUESTION, EVIDENCE))
    await events_of(HybridRouter(ScriptedBackend(DOUBTFUL), ScriptedBackend(ANSWER)).answer(task))
    assert [stage.name for stage in task.watch.timings().stages] == [
        "send", "first_token", "generate", "judge", "llm_prompt", "llm_send", "llm_first_token", "llm_generate",
    ]  # fmt: skip


@pytest.mark.anyio
async def test_closing_the_iterator_stops_the_model() -> None:
    """Nobody generates for a reader who has left."""
    slm = ScriptedBackend(Script(GOOD.text, pace_s=0.01))
    task = Task(QUESTION, EVIDENCE, build_messages(QUESTION, EVIDENCE))
    events = HybridRouter(slm).answer(task)
    assert isinstance(await anext(events), Token)
    assert slm.open == 1
    await events.aclose()
    assert slm.open == 0


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["", "   \n "], ids=["nothing", "only whitespace"])
async def test_an_empty_answer_is_no_answer(text: str) -> None:
    """Neither model's silence is shown as one."""
    routed = (await route(ScriptedBackend(Script(text)), ScriptedBackend(Script(text, finish="stop"))))[-1]
    assert isinstance(routed, Routed)
    assert routed.route == "quoted"
    assert "empty" in (routed.reason or "")

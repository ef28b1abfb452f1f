"""A model that thinks before it answers: what is kept of that, how it is timed, and one that does nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from rag.backends.base import Done, Opened, Piece, Reasoning, Text, Usage
from rag.backends.scripted import Script, ScriptedBackend
from rag.errors import ModelBroke
from rag.events import Escalated, Token, Waiting
from rag.generation import Task
from rag.prompts import build_messages
from rag.router import HybridRouter
from rag.rules import Ledger, Rules
from rag.timings import Stopwatch
from tests.conftest import events_of
from tests.test_router import ANSWER, DOUBTFUL, EVIDENCE, GOOD, PLAIN, QUESTION, route, text_of
from tests.test_router_rules import Clock

pytestmark = pytest.mark.anyio

THOUGHT = "The manual names a port."
THINKS = Script(GOOD.text, logprob=-0.01, reasoning=THOUGHT)


class Timed(ScriptedBackend):
    """Plays (seconds, piece) steps, moving the clock before each."""

    def __init__(self, clock: Clock, *steps: tuple[float, Piece], label: str = "thinker") -> None:
        super().__init__("", label=label)
        self._clock, self._steps = clock, steps

    async def stream(self, *args: Any, **options: Any) -> AsyncGenerator[Piece, None]:
        """Play the steps."""
        for seconds, piece in self._steps:
            self._clock.now += seconds
            yield piece


async def stages_of(*steps: tuple[float, Piece]) -> tuple[dict[str, float], float | None, Any]:
    """The stages of a large model's reply, the TTFT, and what the router made of it."""
    clock = Clock()
    watch = Stopwatch(clock=clock)
    task = Task(QUESTION, EVIDENCE, build_messages(QUESTION, EVIDENCE), mode="llm", watch=watch)
    router = HybridRouter(ScriptedBackend(GOOD), Timed(clock, *steps), clock=clock)
    routed = (await events_of(router.answer(task)))[-1]
    timings = watch.timings()
    assert sum(stage.seconds for stage in timings.stages) == pytest.approx(clock.now)
    return {stage.name: stage.seconds for stage in timings.stages}, timings.ttft_s, routed


async def test_reasoning_never_reaches_the_answer_and_is_kept_beside_it() -> None:
    """The page says that the model thinks; the first token is the answer's."""
    events = await route(ScriptedBackend(THINKS))
    assert events[0] == Waiting("reasoning", "Thinking …")
    assert [type(event) for event in events[1:-1]] == [Token] * len(GOOD.text.split())
    assert text_of(events) == GOOD.text
    routed = events[-1]
    assert (routed.route, routed.final.text) == ("slm", GOOD.text)
    assert (routed.final.reasoning.text, routed.final.reasoning.model) == (THOUGHT, "scripted stand-in")
    assert routed.final.reasoning.tokens == 5


async def test_reasoning_is_a_stage_between_the_first_word_and_the_first_of_the_answer() -> None:
    """Reading the prompt ends with the first word of any kind; TTFT is the first that can be seen."""
    stages, ttft, routed = await stages_of(
        (1.0, Opened()), (2.0, Reasoning("Let ")), (4.0, Reasoning("me see.")), (8.0, Text("Port")),
        (16.0, Text(" 8000")), (32.0, Done("stop", "gpt-oss-20b", Usage(9, 7, 4))),
    )  # fmt: skip
    assert stages == {"llm_send": 1.0, "llm_first_token": 2.0, "llm_reasoning": 12.0, "llm_generate": 48.0}
    assert ttft == 15.0
    reasoning = routed.final.reasoning
    assert (reasoning.text, reasoning.model, reasoning.seconds, reasoning.tokens) == (
        "Let me see.", "gpt-oss-20b", 12.0, 4,
    )  # fmt: skip


async def test_a_model_that_does_not_think_has_no_stage_for_it() -> None:
    """Nor has one whose thought is empty, as that of a model that was told not to."""
    for empty in ([], [(2.0, Reasoning("\n\n"))]):
        steps = [(1.0, Opened()), *empty, (4.0, Text("Port 8000.")), (8.0, Done("stop", "m"))]
        stages, _, routed = await stages_of(*steps)
        assert list(stages) == ["llm_send", "llm_first_token", "llm_generate"]
        assert routed.final.reasoning is None


async def test_a_second_thought_is_kept_and_belongs_to_the_writing() -> None:
    """Stages have one order; the answer has begun."""
    stages, _, routed = await stages_of(
        (1.0, Opened()), (1.0, Text("Port")), (1.0, Reasoning("Hm.")), (1.0, Text(" 8000.")), (1.0, Done("stop", "m")),
    )  # fmt: skip
    assert stages == {"llm_send": 1.0, "llm_first_token": 1.0, "llm_generate": 3.0}
    assert (routed.final.text, routed.final.reasoning.text) == ("Port 8000.", "Hm.")


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        pytest.param("stop", "thinker only reasoned and gave no answer", id="stop"),
        pytest.param(
            "length",
            "thinker reasoned up to the limit of 400 tokens and gave no answer; "
            "a higher RAG_LLM_MAX_TOKENS leaves room for one",
            id="length",
        ),
        pytest.param("content_filter", "cut by the server's content filter", id="filter"),
    ],
)
async def test_a_reply_of_reasoning_alone_is_no_answer_and_says_so(finish: str, reason: str) -> None:
    """The documents speak instead; the setting that helps is named; the time was spent on reasoning."""
    stages, ttft, routed = await stages_of((1.0, Opened()), (2.0, Reasoning("Hm")), (4.0, Done(finish, "thinker")))
    assert (routed.route, routed.reason, routed.final.text) == ("quoted", reason, "")
    assert (stages, ttft) == ({"llm_send": 1.0, "llm_first_token": 2.0, "llm_reasoning": 4.0}, None)
    assert routed.final.reasoning.seconds == 4.0


async def test_a_draft_of_reasoning_alone_is_escalated_with_the_small_models_setting() -> None:
    """What it thought is no draft."""
    slm = ScriptedBackend(Script("", reasoning=THOUGHT, finish="length"), label="phi-4-mini-reasoning")
    events = await route(slm, ScriptedBackend(ANSWER))
    reason = (
        "phi-4-mini-reasoning reasoned up to the limit of 160 tokens and gave no answer; "
        "a higher RAG_SLM_MAX_TOKENS leaves room for one"
    )
    assert events[1] == Escalated(reason, "")
    assert (events[-1].route, events[-1].final.text, events[-1].final.reasoning) == ("escalated", ANSWER, None)


async def test_the_budgets_of_an_answer_count_nothing_that_was_thought() -> None:
    """Neither the patience with a server that ignores the limit, nor the early look, nor the look for repetitions."""
    long = " ".join(f"thought{number}" for number in range(500))
    slm = ScriptedBackend(Script(GOOD.text, logprob=-0.01, reasoning=long))
    assert (await route(slm, slm_max_tokens=80))[-1].final.text == GOOD.text
    same = ScriptedBackend(Script(GOOD.text, logprob=-0.01, reasoning="on and on " * 40))
    routed = (await route(same, rules=Rules(early_tokens=5, early_confidence=0.25)))[-1]
    assert (routed.route, routed.final.cut, routed.draft.tokens) == ("slm", None, len(GOOD.text.split()))


async def test_reasoning_without_end_is_stopped_after_eight_times_the_limit() -> None:
    """Some servers do not count it towards the limit; the other model is asked then."""
    slm = ScriptedBackend(Script(GOOD.text, reasoning=" ".join(["hm"] * 200)), label="phi-4-mini-reasoning")
    events = await route(slm, ScriptedBackend(ANSWER), slm_max_tokens=20)
    assert events[-1].reason == (
        "phi-4-mini-reasoning reasoned on and on and was stopped after 160 pieces, 8 times RAG_SLM_MAX_TOKENS."
    )
    assert (events[-1].final.text, slm.open) == (ANSWER, 0)


async def test_very_long_reasoning_is_kept_by_its_beginning() -> None:
    """It goes into the metadata of a message."""
    _, _, routed = await stages_of(
        (1.0, Opened()), (1.0, Reasoning("x" * 30_000)), (1.0, Text("Port 8000.")), (1.0, Done("stop", "m"))
    )
    assert routed.final.reasoning.text == "x" * 20_000 + " …"


async def test_a_model_that_breaks_while_it_thinks_spent_its_time_on_reasoning() -> None:
    """The fault is the reason, and what it thought is there to read."""
    clock = Clock()
    watch = Stopwatch(clock=clock)

    class Breaking(Timed):
        """Breaks off at the end."""

        async def stream(self, *args: Any, **options: Any) -> AsyncGenerator[Piece, None]:
            """Play the steps and fail."""
            async for piece in super().stream():
                yield piece
            clock.now += 5.0
            raise ModelBroke("It hung.")

    task = Task(QUESTION, EVIDENCE, build_messages(QUESTION, EVIDENCE), mode="llm", watch=watch)
    llm = Breaking(clock, (1.0, Opened()), (2.0, Reasoning("Hm")))
    routed = (await events_of(HybridRouter(ScriptedBackend(GOOD), llm, clock=clock).answer(task)))[-1]
    assert [(stage.name, stage.seconds) for stage in watch.timings().stages][-1] == ("llm_reasoning", 5.0)
    assert (routed.reason, routed.final.reasoning.text) == ("It hung.", "Hm")


async def test_the_wait_for_the_large_models_first_word_includes_its_reasoning() -> None:
    """Nobody can read what it thinks; one that never says a word counts by how long it was waited for."""
    for last in ((2.0, Text("Port 8000.")), (2.0, Reasoning("m"))):
        clock, ledger = Clock(), Ledger()
        steps = ((1.0, Opened()), (2.0, Reasoning("H")), last, (0.0, Done("stop", "m")))
        llm = Timed(clock, *steps)
        for _ in range(3):
            await route(ScriptedBackend(DOUBTFUL), llm, rules=Rules(ttft_budget_s=4.0), ledger=ledger, clock=clock)
        assert ledger.usual_ttft_s(now=clock.now) == 5.0


async def test_a_drafts_reasoning_is_among_what_the_draft_cost() -> None:
    """Its time and its tokens; the confidence is that of its words."""
    routed = (await route(ScriptedBackend(THINKS), calibration=PLAIN))[-1]
    plain = (await route(ScriptedBackend(GOOD), calibration=PLAIN))[-1]
    assert routed.verdict.tokens == plain.verdict.tokens + 5
    assert routed.draft.confidence == plain.draft.confidence

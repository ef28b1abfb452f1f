"""The router under its rules: before the draft, while it grows, and whether the large model may be asked at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from rag.backends.base import Done, Opened, Piece, Text, Usage
from rag.backends.scripted import Script, ScriptedBackend
from rag.calibration import Calibration
from rag.cards import Card
from rag.errors import ModelBroke
from rag.events import Escalated, Token
from rag.prompts import Message
from rag.rules import Ledger, Rules
from tests.test_router import ANSWER, DOUBTFUL, GOOD, route, text_of

pytestmark = pytest.mark.anyio

OFF_TOPIC = (
    "Monks of Lyon once carried seven heavy barrels over steep hills while singing old songs about rivers, "
    "wolves, bread, candles, winter storms, lost kings, golden bells, silent gardens, broken bridges, quiet "
    "mills, honest farmers, black horses, tall ships, distant islands and patient fishermen."
)
HOPELESS = Script(OFF_TOPIC, logprob=-5.0)
TOPIC = Rules(topics=("port",))


class Clock:
    """A clock that somebody else moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Playing(ScriptedBackend):
    """Plays (text, logprobs) pieces as they are, however absurd; the clock moves on before the first."""

    def __init__(self, *pieces: tuple[str, Any], clock: Clock | None = None, wait_s: float = 0.0) -> None:
        super().__init__("")
        self.pieces = pieces
        self.clock = clock
        self.wait_s = wait_s
        self.usage: Usage | None = None

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """Play the pieces."""
        self.requests.append(list(messages))
        yield Opened()
        if self.clock:
            self.clock.now += self.wait_s
        for text, logprobs in self.pieces:
            yield Text(text, logprobs)
        yield Done("stop", self.label, self.usage)


def pieces(text: str, logprob: float) -> list[tuple[str, Any]]:
    """A word a piece."""
    return [(f"{word} ", (logprob,)) for word in text.split()]


async def test_weak_evidence_goes_to_the_large_model_without_a_draft() -> None:
    """The small model's time is not spent on what it will not know."""
    slm, llm = ScriptedBackend(GOOD), ScriptedBackend(ANSWER)
    events = await route(slm, llm, rules=Rules(weak_coverage=0.40), coverage=0.31)
    assert events[0] == Escalated("weak evidence: 0.31 < 0.40 of the question's words", "")
    assert (events[-1].route, events[-1].final.text, events[-1].draft) == ("escalated", ANSWER, None)
    assert events[-1].verdict is None
    assert slm.requests == []


CODER, SCHOLAR = Card("coder", frozenset({"code"})), Card("scholar", frozenset({"general"}))


async def test_what_only_the_large_model_is_good_at_is_not_drafted() -> None:
    """As the capabilities say, by what the question wants."""
    slm, llm = ScriptedBackend(GOOD), ScriptedBackend(ANSWER)
    events = await route(slm, llm, small=CODER, large=SCHOLAR)
    assert events[0] == Escalated("general knowledge is not what coder is good at", "")
    assert (events[-1].route, slm.requests) == ("escalated", [])


@pytest.mark.parametrize(
    ("llm", "cards"),
    [
        pytest.param(True, {"small": SCHOLAR, "large": SCHOLAR}, id="both are"),
        pytest.param(True, {"small": CODER, "large": CODER}, id="neither is"),
        pytest.param(True, {"small": CODER}, id="nothing is known of the large one"),
        pytest.param(True, {"large": SCHOLAR}, id="nothing is known of the small one"),
        pytest.param(True, {"small": CODER, "large": SCHOLAR, "mode": "slm"}, id="local only"),
        pytest.param(False, {"small": CODER, "large": SCHOLAR}, id="no large model"),
    ],
)
async def test_otherwise_capabilities_change_nothing(llm: bool, cards: dict[str, Any]) -> None:
    """The draft is written, and judged as ever."""
    slm = ScriptedBackend(GOOD)
    events = await route(slm, ScriptedBackend(ANSWER) if llm else None, **cards)
    assert (events[-1].route, events[-1].reason, len(slm.requests)) == ("slm", None, 1)


@pytest.mark.parametrize(
    ("llm", "options"),
    [
        pytest.param(True, {"coverage": 0.40}, id="exactly at the threshold"),
        pytest.param(True, {"coverage": 0.31, "mode": "slm"}, id="local only"),
        pytest.param(False, {"coverage": 0.31}, id="no large model"),
    ],
)
async def test_otherwise_weak_evidence_is_drafted_as_ever(llm: bool, options: dict[str, Any]) -> None:
    """And no sentence is made about it."""
    slm = ScriptedBackend(GOOD)
    large = ScriptedBackend(ANSWER) if llm else None
    routed = (await route(slm, large, rules=Rules(weak_coverage=0.40), min_confidence=0.0, **options))[-1]
    assert (routed.route, routed.reason, len(slm.requests)) == ("slm", None, 1)


@pytest.mark.parametrize("mode", ["hybrid", "refine"])
async def test_a_flagged_topic_goes_to_the_large_model_whatever_the_draft_would_be(mode: str) -> None:
    """The small model is not asked at all."""
    slm, llm = ScriptedBackend(GOOD), ScriptedBackend(ANSWER)
    routed = (await route(slm, llm, rules=TOPIC, mode=mode))[-1]
    assert (routed.route, routed.reason, slm.requests) == ("escalated", "flagged topic: port", [])


async def test_always_and_never_are_what_they_say() -> None:
    """The other model is not asked, and the reason is there to read."""
    slm, llm = ScriptedBackend(GOOD), ScriptedBackend(ANSWER)
    routed = (await route(slm, llm, rules=Rules(escalate="always")))[-1]
    assert (routed.route, routed.reason, slm.requests) == (
        "escalated", "every question is escalated (RAG_ESCALATE)", [],
    )  # fmt: skip
    slm, llm = ScriptedBackend(DOUBTFUL), ScriptedBackend(ANSWER)
    routed = (await route(slm, llm, rules=Rules(escalate="never")))[-1]
    assert (routed.route, llm.requests) == ("quoted", [])
    assert routed.reason.startswith("low confidence: 0.")
    assert routed.reason.endswith("< 0.60; escalation is switched off (RAG_ESCALATE)")


async def test_never_does_not_hinder_the_mode_that_asks_for_the_large_model() -> None:
    """The reader chose it; that is no escalation, and no limit counts it."""
    ledger = Ledger()
    rules = Rules(escalate="never", per_minute=1)
    for _ in range(2):
        routed = (await route(ScriptedBackend(GOOD), ScriptedBackend(ANSWER), rules=rules, mode="llm", ledger=ledger))[
            -1
        ]
        assert routed.route == "llm"
    assert ledger.count == 0


@pytest.mark.parametrize(
    ("slm", "route_", "reason"),
    [
        pytest.param(GOOD, "slm", "flagged topic: port; It broke", id="good draft"),
        pytest.param(DOUBTFUL, "quoted", "It broke", id="doubtful draft"),
    ],
)
async def test_a_large_model_that_says_nothing_is_replaced_by_the_draft_that_was_skipped(
    slm: Script, route_: str, reason: str
) -> None:
    """It is asked once, not again for the draft; what it failed with is said."""
    llm = ScriptedBackend(Script("", error=ModelBroke("It broke.")))
    events = await route(ScriptedBackend(slm), llm, rules=TOPIC)
    assert (events[-1].route, len(llm.requests)) == (route_, 1)
    assert events[-1].reason.endswith(reason)
    assert len([event for event in events if isinstance(event, Escalated)]) == 1
    assert text_of(events) == slm.text


async def test_a_hopeless_draft_is_stopped_and_escalated_in_place() -> None:
    """After 12 tokens, not after the last; the model stops too, and the reader sees what it had written."""
    slm, llm = ScriptedBackend(HOPELESS), ScriptedBackend(ANSWER)
    events = await route(slm, llm)
    (escalated,) = [event for event in events if isinstance(event, Escalated)]
    draft = text_of(events[: events.index(escalated)])
    assert draft == " ".join(OFF_TOPIC.split()[:12])
    assert escalated.draft == draft
    assert escalated.reason.startswith("hopeless after 12 tokens: 0.0")
    assert escalated.reason.endswith(" < 0.25")
    assert (slm.open, events[-1].route, events[-1].final.text) == (0, "escalated", ANSWER)
    verdict = events[-1].verdict
    assert (verdict.stopped, verdict.tokens, verdict.at_most, verdict.threshold) == (True, 12, 160, 0.25)
    assert verdict.kept_at == 0.0
    assert events[-1].draft.confidence.value < 0.25


@pytest.mark.parametrize("mode", ["hybrid", "slm"])
async def test_without_a_large_model_to_ask_a_hopeless_draft_gives_way_to_the_quotation_early(mode: str) -> None:
    """It would be replaced by it anyway."""
    llm = ScriptedBackend(ANSWER)
    events = await route(ScriptedBackend(HOPELESS), llm if mode == "slm" else None, mode=mode)
    assert (events[-1].route, llm.requests) == ("quoted", [])
    assert events[-1].reason.startswith("hopeless after 12 tokens: ")
    assert len(text_of(events).split()) == 12


async def test_a_draft_that_goes_astray_later_is_seen_at_one_of_the_next_looks() -> None:
    """It is looked at every 8 tokens: well at 12, hopeless at 20."""
    start = pieces("The chat listens on port 8000. It listens on port 8000, says the chat: port 8000", -0.01)
    assert len(start) == 16
    slm = Playing(*start, *pieces(OFF_TOPIC, -20.0))
    routed = (await route(slm, ScriptedBackend(ANSWER)))[-1]
    assert routed.reason.startswith("hopeless after 20 tokens: ")
    assert routed.verdict.tokens == 20


@pytest.mark.parametrize(
    ("rules", "options"),
    [
        pytest.param(Rules(early_tokens=0), {}, id="switched off"),
        pytest.param(Rules(early_tokens=999), {}, id="too early to tell"),
        pytest.param(Rules(early_confidence=0.0), {}, id="nothing is below 0"),
        pytest.param(Rules(), {"mode": "refine"}, id="refine"),
        pytest.param(Rules(), {"min_confidence": 0.0}, id="everything is kept anyway"),
    ],
)
async def test_otherwise_a_draft_is_written_to_its_end(rules: Rules, options: dict[str, Any]) -> None:
    """Then it is judged as a whole."""
    events = await route(ScriptedBackend(HOPELESS), rules=rules, **options)
    assert text_of(events) == OFF_TOPIC
    assert not events[-1].verdict.stopped


async def test_the_large_model_is_never_stopped_for_its_confidence() -> None:
    """It has nobody above it."""
    events = await route(ScriptedBackend(GOOD), ScriptedBackend(HOPELESS), mode="llm")
    assert events[-1].final.text == OFF_TOPIC


async def test_an_early_threshold_above_the_other_one_is_taken_as_that() -> None:
    """No draft is stopped that would be kept as it stands."""
    long = "The chat listens on port 8000. So it is that port on which one finds the chat, day by day."
    slm = ScriptedBackend(Script(long, logprob=-0.01))
    routed = (await route(slm, rules=Rules(early_confidence=1.0), min_confidence=0.30))[-1]
    assert (routed.route, routed.final.text, routed.verdict.threshold) == ("slm", long, 0.30)


async def test_the_limit_of_a_minute_holds_for_all_chats_and_passes() -> None:
    """Two are let through, the third is quoted with both reasons, and a minute later it goes on."""
    clock, ledger = Clock(), Ledger()
    options = {"rules": Rules(per_minute=2), "ledger": ledger, "clock": clock}
    said = []
    for now in (0.0, 1.0, 2.0, 61.0):
        clock.now = now
        said.append((await route(ScriptedBackend(DOUBTFUL), ScriptedBackend(ANSWER), **options))[-1])
    assert [routed.route for routed in said] == ["escalated", "escalated", "quoted", "escalated"]
    assert said[2].reason.startswith("low confidence: ")
    assert said[2].reason.endswith("< 0.60; limit of 2 escalations a minute reached")
    assert said[2].draft.text == DOUBTFUL.text


async def test_no_more_pass_the_limit_when_they_come_together() -> None:
    """Looking and counting are one step."""
    options: dict[str, Any] = {"rules": Rules(per_minute=2), "ledger": Ledger()}
    both = [
        route(ScriptedBackend(Script(DOUBTFUL.text, logprob=-3.0, pace_s=0.001)), ScriptedBackend(ANSWER), **options)
        for _ in range(5)
    ]
    routes = [events[-1].route for events in await asyncio.gather(*both)]
    assert sorted(routes) == ["escalated"] * 2 + ["quoted"] * 3


async def test_the_limit_of_a_chat_is_its_own() -> None:
    """Another chat has not used its share."""
    mine, ledger = Ledger(), Ledger()
    options: dict[str, Any] = {"rules": Rules(per_chat=1), "ledger": ledger}
    routes = []
    for chat in (mine, mine, Ledger()):
        routed = (await route(ScriptedBackend(DOUBTFUL), ScriptedBackend(ANSWER), chat=chat, **options))[-1]
        routes.append((routed.route, routed.reason.split("; ")[-1]))
    assert routes[1] == ("quoted", "limit of 1 escalation in a chat reached")
    assert [one for one, _ in routes] == ["escalated", "quoted", "escalated"]


@pytest.mark.parametrize(
    ("slm", "options", "route_", "reason"),
    [
        pytest.param(
            GOOD, {"rules": Rules(topics=("port",), per_chat=1)}, "slm", "flagged topic: port; {}", id="topic"
        ),
        pytest.param(
            GOOD,
            {"rules": Rules(per_chat=1), "mode": "refine", "refine_topics": ["port"]},
            "slm",
            "not polished (flagged topic: port): {}",
            id="polish",
        ),
        pytest.param(HOPELESS, {"rules": Rules(per_chat=1)}, "quoted", "; {}", id="hopeless"),
    ],
)
async def test_what_may_not_be_escalated_says_why_it_should_and_why_it_may_not(
    slm: Script, options: dict[str, Any], route_: str, reason: str
) -> None:
    """A draft that is good in itself stands; any other gives way to the quotation."""
    spent, llm = Ledger(), ScriptedBackend(ANSWER)
    spent.escalated(at=0.0)
    routed = (await route(ScriptedBackend(slm), llm, chat=spent, **options))[-1]
    assert (routed.route, llm.requests) == (route_, [])
    assert routed.reason.endswith(reason.format("limit of 1 escalation in a chat reached"))
    assert spent.count == 1


async def test_a_flagged_topic_without_a_large_model_is_drafted_and_says_so() -> None:
    """Whoever flagged it wants to know that nobody looked."""
    routed = (await route(ScriptedBackend(GOOD), rules=TOPIC))[-1]
    assert (routed.route, routed.reason) == ("slm", "flagged topic: port; no large model to ask")


async def test_a_large_model_slower_than_its_budget_is_spared_until_its_times_are_old() -> None:
    """Three answers tell its speed; five minutes later it is tried again."""
    clock, ledger = Clock(), Ledger()
    llm = Playing((ANSWER, None), clock=clock, wait_s=2.3)
    options = {"rules": Rules(ttft_budget_s=1.0), "ledger": ledger, "clock": clock}
    said = [(await route(ScriptedBackend(DOUBTFUL), llm, **options))[-1] for _ in range(4)]
    assert [routed.route for routed in said] == ["escalated", "escalated", "escalated", "quoted"]
    assert said[3].reason.endswith("; the large model needs 2,300 ms to its first word, the budget is 1,000")
    clock.now += 300
    assert (await route(ScriptedBackend(DOUBTFUL), llm, **options))[-1].route == "escalated"


@pytest.mark.parametrize("wait_s", [0.0, 9.0], ids=["fails at once", "keeps everybody waiting"])
async def test_a_first_word_that_never_comes_is_slow_only_if_it_was_waited_for(wait_s: float) -> None:
    """A refused connection tells nothing about speed; a server that hangs tells enough."""
    clock, ledger = Clock(), Ledger()

    class Silent(Playing):
        """Takes the request and breaks off."""

        async def stream(self, *args: Any, **options: Any) -> AsyncGenerator[Piece, None]:
            """Wait and fail."""
            clock.now += wait_s
            raise ModelBroke("It hung.")
            yield Opened()

    options = {"rules": Rules(ttft_budget_s=1.0), "ledger": ledger, "clock": clock}
    for _ in range(3):
        await route(ScriptedBackend(DOUBTFUL), Silent(), **options)
    assert ledger.usual_ttft_s(now=clock.now) == (wait_s or None)


async def test_the_wait_for_the_first_word_ends_with_it_also_if_the_rest_never_comes() -> None:
    """A model that breaks off late was not slow to begin."""
    clock, ledger = Clock(), Ledger()

    class Stalling(Playing):
        """Begins after a second and hangs."""

        async def stream(self, *args: Any, **options: Any) -> AsyncGenerator[Piece, None]:
            """Say a word, wait and fail."""
            clock.now += 1.0
            yield Text("Port")
            clock.now += 50.0
            raise ModelBroke("It hung.")

    for _ in range(3):
        await route(ScriptedBackend(DOUBTFUL), Stalling(), ledger=ledger, clock=clock)
    assert ledger.usual_ttft_s(now=clock.now) == 1.0


@pytest.mark.parametrize(
    ("logprobs", "signal"),
    [
        pytest.param([(-0.1,), (-0.2,)], "logprob+support", id="well"),
        pytest.param([None, None], "support", id="null"),
        pytest.param([(-0.1,), None], "support", id="null for a part"),
        pytest.param([(-0.1,), ()], "support", id="none for a part"),
        pytest.param([(-0.1,), (0.5,)], "support", id="positive"),
        pytest.param([(-0.1,), (float("nan"),)], "support", id="not a number"),
        pytest.param([(-0.1,), (float("-inf"),)], "support", id="minus infinity"),
        pytest.param([(-0.1,), (-0.1,) * 500], "support", id="more than it has letters"),
    ],
)
async def test_absurd_log_probabilities_step_down_the_ladder(logprobs: list[Any], signal: str) -> None:
    """The draft is judged by what is left, the signal says so, and no token is counted that was not there."""
    slm = Playing(("The chat listens", logprobs[0]), (" on port 8000.", logprobs[1]))
    routed = (await route(slm, min_confidence=0.0))[-1]
    assert routed.draft.confidence.signal == signal
    assert ("logprob" in [part.name for part in routed.draft.confidence.parts]) == (signal != "support")
    assert routed.verdict.tokens == 2


async def test_absurd_log_probabilities_cannot_stop_a_good_draft_early() -> None:
    """A running draft steps down the same ladder."""
    text = "The chat listens on port 8000. So it is that port on which one finds the chat, day by day."
    slm = Playing(*[(word, (float("nan"),)) for word in text.replace(" ", " |").split("|")])
    events = await route(slm, min_confidence=0.25)
    assert (events[-1].route, events[-1].final.text) == ("slm", text)


async def test_the_verdict_says_what_the_draft_cost_and_where_the_line_would_have_to_be() -> None:
    """The server's count of tokens wins; a round threshold that keeps it is named, unless something else decided."""
    told = ScriptedBackend(Script("On the port of the chat.", logprob=-3.0))
    doubtful = (await route(told, ScriptedBackend(ANSWER)))[-1]
    value = doubtful.draft.confidence.value
    assert doubtful.verdict.threshold == 0.60
    assert doubtful.verdict.kept_at <= value < doubtful.verdict.kept_at + 0.05
    assert (doubtful.verdict.tokens, doubtful.verdict.at_most, doubtful.verdict.stopped) == (6, 160, False)
    assert doubtful.verdict.seconds > 0
    nowhere = (await route(ScriptedBackend(DOUBTFUL)))[-1]  # would not be kept at any: it has no source
    assert (nowhere.reason[:15], nowhere.verdict.kept_at) == ("low confidence:", None)
    short = (await route(ScriptedBackend(Script("In Lyon.", logprob=-3.0))))[-1]
    assert (short.reason, short.verdict.kept_at) == ("short draft: 2 < 3 words", None)
    assert (await route(ScriptedBackend(GOOD)))[-1].verdict.kept_at is None


async def test_the_servers_count_of_a_drafts_tokens_wins_over_ours() -> None:
    """A piece may have several tokens, and only the server knows."""
    slm = Playing(("The chat listens on port 8000.", None))
    assert (await route(slm))[-1].verdict.tokens == 1
    slm.usage = Usage(40, 9)
    assert (await route(slm))[-1].verdict.tokens == 9


async def test_tokens_keep_coming_one_by_one_while_the_draft_is_looked_at() -> None:
    """Looking holds nothing back."""
    events = await route(ScriptedBackend(GOOD), rules=Rules(early_tokens=1))
    assert [event.text for event in events if isinstance(event, Token)][:2] == ["The", " chat"]


async def test_a_running_draft_in_a_script_without_spaces_is_judged_whole() -> None:
    """It once was its one Latin word."""
    told = ("Python", " 的", "默认", "端口", "是", "八千", "号", "。") * 3
    slm = Playing(*[(piece, None) for piece in told])
    keep = Calibration("scripted", {"bias": -60.0}, {"bias": -60.0, "length": 400.0})  # by its length alone
    routed = (await route(slm, rules=Rules(early_tokens=6), calibration=keep))[-1]
    assert not routed.verdict.stopped


async def test_a_first_piece_of_several_tokens_keeps_its_log_probabilities() -> None:
    """The space before it is not shown, and was a token all the same."""
    slm = Playing((" 8", (-0.1, -0.2)), ("000", (-0.1,)))
    assert (await route(slm))[-1].draft.logprobs == (-0.1, -0.2, -0.1)

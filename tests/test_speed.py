"""One timed call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rag.backends.base import Done, Opened, Reasoning, Text, Usage
from rag.backends.openai_compatible import OpenAICompatible
from rag.backends.scripted import Script, ScriptedBackend
from rag.errors import ModelBroke, ModelError, ModelRefused
from rag.prompts import Message
from rag.workbench.speed import Call, timed_call, warm_up
from tests.model_server import DONE, HEAD, chunk, model_server
from tests.timed import At, Timed

pytestmark = pytest.mark.anyio

ASK: list[Message] = [{"role": "user", "content": "Why is the sky blue?"}]


async def called(backend: Timed, show: Callable[[str], None] | None = None) -> Call:
    """One call by the backend's own clock."""
    return await timed_call(backend, ASK, max_tokens=9, temperature=0.0, show=show, clock=backend.clock)


async def test_all_times_are_of_the_same_call() -> None:
    """TTFT from the request, the rate of writing from the first text to the last, whatever comes after it."""
    shown: list[str] = []
    done = Done("stop", "served", Usage(20, 5))
    backend = Timed([(0.1, Opened()), (0.5, Text("It")), (0.75, Text(" is")), (1.0, Text(" so.")), (2.0, done)])
    call = await called(backend, shown.append)
    assert (call.text, call.model, call.finish, shown) == ("It is so.", "served", "stop", ["It", " is", " so."])
    assert (call.ttft_s, call.writing_s, call.total_s) == (0.5, 0.5, 2.0)
    assert (call.tokens, call.counted) == (5, "server")
    assert call.decode_per_s == 8.0  # four tokens after the first in half a second
    assert call.tokens_per_s == 2.5  # five in two seconds
    assert call.workshop_tokens_per_s == 12.5  # with the twenty of the prompt


async def test_without_usage_the_pieces_are_counted_and_it_is_said_so() -> None:
    """A piece is a token, unless its log-probabilities say that it is more."""
    two = Text(" b c", logprobs=(-0.1, -0.2))
    call = await called(Timed([(1.0, Text("a")), (2.0, two), (2.0, Done("stop", "m"))]))
    assert (call.tokens, call.counted, call.workshop_tokens_per_s) == (3, "pieces", None)
    assert call.decode_per_s == 2.0


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([(1.0, Text("all at once")), (1.5, Done("stop", "m", Usage(3, 4)))], id="one piece"),
        pytest.param([(1.0, Text("a")), (1.0, Text("b")), (1.0, Done("stop", "m", Usage(3, 2)))], id="no time"),
        pytest.param([(1.0, Text("a")), (2.0, Text(" ")), (2.0, Done("stop", "m", Usage(3, 1)))], id="one token"),
    ],
)
async def test_a_rate_that_cannot_be_known_is_none(pieces: list[At]) -> None:
    """Neither 0 nor infinite."""
    assert (await called(Timed(pieces))).decode_per_s is None


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        pytest.param([(1.0, Done("stop", "m"))], "timed gave an empty answer. Ask again", id="empty"),
        pytest.param([(1.0, Text(" \n")), (1.0, Done("stop", "m"))], "gave an empty answer", id="spaces"),
        pytest.param([(1.0, Done("length", "m"))], "used up its 9 tokens: allow it more", id="thoughts only"),
    ],
)
async def test_an_empty_answer_is_a_failure(pieces: list[At], message: str) -> None:
    """It would look like a very fast model."""
    with pytest.raises(ModelBroke, match=message):
        await called(Timed(pieces))


async def test_a_failure_in_the_middle_is_passed_on_after_what_was_shown() -> None:
    """The text until then is not lost for who shows it."""
    shown: list[str] = []
    backend = ScriptedBackend(Script("one two three", error=ModelBroke("cut"), error_after=2))
    with pytest.raises(ModelError, match="cut"):
        await timed_call(backend, ASK, max_tokens=9, temperature=0.0, show=shown.append)
    assert (shown, backend.open) == (["one", " two"], 0)


async def test_a_server_is_timed_by_the_clock() -> None:
    """What it waits before the first text and between texts is in the figures."""
    script = [HEAD, chunk(""), 0.1, chunk("Hello"), 0.2, chunk(" world"), chunk(finish="stop"), DONE]
    async with model_server(script) as server:
        backend = OpenAICompatible(server.url, "m")
        call = await timed_call(backend, ASK, max_tokens=9, temperature=0.0)
        await backend.stop()
    assert call.text == "Hello world"
    assert call.counted == "pieces"
    assert call.ttft_s >= 0.1
    assert call.writing_s >= 0.19
    assert call.total_s >= call.ttft_s + call.writing_s


async def test_the_warm_up_loads_and_asks_something_else() -> None:
    """And an empty greeting is no fault: a model may think for longer than that."""
    backend = Timed([(0.0, Done("length", "m"))], ready=False)
    await warm_up(backend)
    await warm_up(backend)
    assert backend.starts == 1
    scripted = ScriptedBackend("Hello.")
    await warm_up(scripted)
    assert scripted.requests != [ASK]


async def test_a_warm_up_that_fails_says_so() -> None:
    """Whoever measures decides what to make of it."""
    with pytest.raises(ModelRefused):
        await warm_up(ScriptedBackend(Script("", error=ModelRefused("no", status=400))))


async def test_what_was_only_thought_is_no_part_of_the_rate() -> None:
    """The first text is of the answer, and so are the tokens, where the server tells them apart."""
    done = Done("stop", "served", Usage(20, 105, 100))
    backend = Timed([(0.1, Opened()), (0.2, Reasoning("Hm.")), (0.5, Text("It")), (1.0, Text(" is so.")), (2.0, done)])
    call = await called(backend)
    assert (call.text, call.ttft_s, call.tokens) == ("It is so.", 0.5, 5)
    assert call.decode_per_s == 8.0


@pytest.mark.parametrize("reasoning", [None, 0])
async def test_a_reasoning_that_the_server_does_not_count_apart_makes_us_count_the_answer(
    reasoning: int | None,
) -> None:
    """Else its thoughts would be in the rate of writing; what is billed is as the server says."""
    done = Done("stop", "served", Usage(20, 105, reasoning))
    thoughts: list[At] = [(0.2, Reasoning("Hm.")), (0.3, Reasoning(" So."))]
    call = await called(Timed([*thoughts, (0.5, Text("It")), (1.0, Text(" is so.")), (2.0, done)]))
    assert (call.tokens, call.counted, call.decode_per_s) == (2, "pieces", 2.0)
    assert (call.completion, call.reasoning) == (105, 2)

"""The client for servers that misbehave."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import aclosing
from types import AsyncGeneratorType
from typing import Any

import pytest

from rag.addresses import is_loopback
from rag.backends.base import Done, Opened, Reasoning, Text, Usage
from rag.backends.openai_compatible import Deadlines, OpenAICompatible, normalise_url, resolve_model
from rag.errors import ModelBroke, ModelError, ModelRefused, ModelUnavailable
from tests.conftest import events_of
from tests.model_server import ANSWER, DONE, HEAD, Step, chunk, model_server, models, status, thought

pytestmark = pytest.mark.anyio

MESSAGES = [{"role": "user", "content": "Hello?"}]
QUICK = Deadlines(connect_s=1, first_text_s=0.4, between_texts_s=0.4)


async def pieces_of(*script: Step, deadlines: Deadlines = QUICK) -> tuple[list[Any], ModelError | None]:
    """What a server's script comes out as, and the error it ends in."""
    async with model_server(list(script)) as server:
        backend = OpenAICompatible(server.url, "phi-4-mini", deadlines=deadlines, retry_backoff_s=None)
        got: list[Any] = []
        try:
            async for piece in backend.stream(MESSAGES, max_tokens=9, temperature=0.0):
                got.append(piece)
        except ModelError as error:
            return got, error
        finally:
            await backend.stop()
    return got, None


async def test_an_answer_arrives_piece_by_piece_with_its_log_probabilities_and_usage() -> None:
    """Role-only chunks are no text; the model's name is the one the server reported."""
    assert await pieces_of(*ANSWER) == (
        [Opened(), Text("Hello", (-0.5,)), Text(" world", (-0.1,)), Done("stop", "served-model", Usage(7, 2))],
        None,
    )


async def test_a_server_without_log_probabilities_gives_none() -> None:
    """A null is not a certainty."""
    got, _ = await pieces_of(HEAD, chunk("Hi"), chunk(finish="stop"), DONE)
    assert got[1:] == [Text("Hi", None), Done("stop", "served-model", None)]


async def test_more_fields_go_with_every_request() -> None:
    """As the settings say; the chat's own stay as they are."""
    async with model_server() as server:
        model = OpenAICompatible(server.url, "m", extra_body={"top_p": 0.9, "kwargs": {"thinking": False}})
        await events_of(model.stream(MESSAGES, max_tokens=5, temperature=0.0))
        await model.stop()
    assert server.bodies[0]["top_p"] == 0.9
    assert server.bodies[0]["kwargs"] == {"thinking": False}
    assert (server.bodies[0]["max_tokens"], server.bodies[0]["stream"]) == (5, True)


async def test_an_answer_is_whole_once_it_is_finished() -> None:
    """A stall or a cut after the finish reason costs the usage, not the answer."""
    for end in ([5.0], [b"data: {bad\n\n"]):
        got, error = await pieces_of(HEAD, chunk("Hi"), chunk(finish="stop"), *end)
        assert (got[-1], error) == (Done("stop", "served-model", None), None)


async def test_odd_fields_cost_themselves_and_not_the_answer() -> None:
    """Usage in words, a null log-probability, half a surrogate: ignored or shown as far as it can be."""
    odd = chunk("Hi", choices=[{
        "index": 0, "delta": {"content": "Hi \ud83d"}, "finish_reason": None,
        "logprobs": {"content": [{"token": "Hi", "logprob": None, "bytes": None, "top_logprobs": []}]},
    }])  # fmt: skip
    got, error = await pieces_of(
        HEAD, odd, chunk(finish="stop"), chunk(choices=[], usage={"prompt_tokens": "many"}), DONE
    )
    assert (got[1:], error) == ([Text("Hi ?", None), Done("stop", "served-model", None)], None)
    got, error = await pieces_of(HEAD, chunk(["a", "b"]), chunk(finish="stop"), DONE)
    assert isinstance(error, ModelBroke)


def with_logprobs(logprobs: Any) -> bytes:
    """A piece with these log-probabilities."""
    return chunk(choices=[{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None, "logprobs": logprobs}])


def token(*tops: Any, own: Any = -0.5) -> dict[str, Any]:
    """A token with the log-probabilities of the likeliest ones in its place."""
    return {"token": "Hi", "logprob": own, "top_logprobs": [{"token": "Hi", "logprob": top} for top in tops]}


@pytest.mark.parametrize(
    ("logprobs", "own", "tops"),
    [
        pytest.param({"content": [token(-0.5, -0.1)]}, (-0.5,), ((-0.1, -0.5),), id="as they should be"),
        pytest.param({"content": 5}, None, None, id="a number for the tokens"),
        pytest.param({"content": {"a": 1}}, None, None, id="an object for the tokens"),
        pytest.param({"content": [5]}, None, None, id="a number for a token"),
        pytest.param(5, None, None, id="a number for all"),
        pytest.param({"content": [token() | {"top_logprobs": 5}]}, (-0.5,), None, id="a number for the tops"),
        pytest.param({"content": [token() | {"top_logprobs": [5]}]}, (-0.5,), None, id="a number for a top"),
        pytest.param({"content": [token(-0.5, -(10**400))]}, None, None, id="a top too large for a float"),
        pytest.param({"content": [token(-0.5, float("nan"))]}, (-0.5,), None, id="a top that is no number"),
        pytest.param({"content": [token(-0.5, own=-(10**400))]}, None, None, id="too large for a float"),
        pytest.param({"content": [token(own=float("-inf"))]}, None, None, id="endless"),
        pytest.param({"content": [token(own="high")]}, None, None, id="in words"),
    ],
)
async def test_odd_log_probabilities_cost_themselves_and_not_the_answer(
    logprobs: Any, own: tuple[float, ...] | None, tops: tuple[tuple[float, ...], ...] | None
) -> None:
    """Those of the likeliest tokens alone, where the others can be read."""
    got, error = await pieces_of(HEAD, with_logprobs(logprobs), chunk(finish="stop"), DONE)
    assert (got[1:], error) == ([Text("Hi", own, tops), Done("stop", "served-model", None)], None)


async def test_an_address_without_a_chat_is_said_to_be_one() -> None:
    """Where nothing is listed either, the model's name is not the fault."""
    async with model_server([status(404, {})], listed=status(404, {})) as server:
        backend = OpenAICompatible(server.url, "phi-4-mini", retry_backoff_s=None)
        with pytest.raises(ModelRefused, match=r"has no chat at this address \(404\)\. Check RAG_SLM_URL"):
            await events_of(backend.stream(MESSAGES, max_tokens=9, temperature=0.0))
        await backend.stop()


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_not_text(field: str) -> None:
    """What a model thinks in a field of its own never reaches the answer."""
    script = [HEAD, thought("Hm", field=field), thought("m", field=field), chunk("Hi", logprob=-0.1)]
    got, _ = await pieces_of(*script, chunk(finish="stop"), DONE)
    assert got[1:-1] == [Reasoning("Hm"), Reasoning("m"), Text("Hi", (-0.1,))]


async def test_the_same_reasoning_in_two_fields_is_there_once() -> None:
    """Servers that renamed the field send both for a while."""
    got, _ = await pieces_of(HEAD, thought("Hm", reasoning="Hm"), chunk("Hi"), chunk(finish="stop"), DONE)
    assert got[1:-1] == [Reasoning("Hm"), Text("Hi")]


@pytest.mark.parametrize("odd", [None, "", 5, True, {"text": "Hm"}, ["Hm"]], ids=repr)
async def test_reasoning_that_is_no_text_is_ignored(odd: Any) -> None:
    """Nothing breaks, and the other field still counts."""
    got, error = await pieces_of(
        HEAD, thought(odd), thought(odd, reasoning="Hm"), chunk("Hi"), chunk(finish="stop"), DONE
    )
    assert (got[1:-1], error) == ([Reasoning("Hm"), Text("Hi")], None)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi.", id="marks"
        ),
        pytest.param("analysisHm.assistantfinalHi.", id="no marks"),
        pytest.param("<think>Hm.</think>Hi.", id="think"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000], ids=["letters", "sevens", "at once"])
async def test_reasoning_in_the_text_is_told_from_the_answer(said: str, size: int) -> None:
    """However it is cut; see `test_channels` for all the shapes."""
    script = [chunk(said[at : at + size]) for at in range(0, len(said), size)]
    got, error = await pieces_of(HEAD, *script, chunk(finish="stop"), DONE)
    assert error is None
    assert "".join(piece.text for piece in got if isinstance(piece, Text)) == "Hi."
    assert "".join(piece.text for piece in got if isinstance(piece, Reasoning)) == "Hm."


async def test_only_the_tokens_of_the_answer_have_log_probabilities() -> None:
    """Marks and reasoning have none that count; a piece that is partly both has none at all."""
    pieces = ["<think>", "Hm", "</think>", "Hi", " there"]
    script = [chunk(piece, logprob=-0.1 * at) for at, piece in enumerate(pieces)]
    got, _ = await pieces_of(HEAD, *script, chunk(finish="stop"), DONE)
    assert got[1:-1] == [Reasoning("Hm"), Text("Hi", (-0.1 * 3,)), Text(" there", (-0.4,))]
    got, _ = await pieces_of(HEAD, chunk("<think>Hm</think>Hi", logprob=-0.1), chunk(finish="stop"), DONE)
    assert got[1:-1] == [Reasoning("Hm"), Text("Hi")]


async def test_a_gpt_oss_is_known_by_the_name_that_its_server_reports() -> None:
    """Its reasoning need not be held back until the answer proves it."""
    got, _ = await pieces_of(HEAD, chunk("analysisHm", model="openai/gpt-oss-20b"), chunk(finish="length"), DONE)
    assert got[1:-1] == [Reasoning("Hm")]
    got, _ = await pieces_of(HEAD, chunk("analysisHm"), chunk(finish="length"), DONE)
    assert got[1:-1] == [Text("analysisHm")]


async def test_what_was_held_back_is_not_lost_when_the_server_breaks() -> None:
    """The part that came is the part that is kept."""
    for end in ([], [b"data: {bad\n\n"], [5.0]):
        got, error = await pieces_of(HEAD, chunk("analysisOf"), chunk(" it <|"), *end)
        assert isinstance(error, ModelBroke)
        assert "".join(piece.text for piece in got if isinstance(piece, Text)) == "analysisOf it <|"


async def test_a_model_that_thinks_is_not_silent() -> None:
    """Each thought, and each text that is held back, moves the deadline; a thought without words does not."""
    deadlines = Deadlines(connect_s=1, first_text_s=0.6, between_texts_s=0.6)
    thoughts = [step for number in range(4) for step in (thought(f"{number}"), 0.2)]
    held = [step for word in ("analysis", "Of", " the", " data") for step in (chunk(word), 0.2)]
    got, error = await pieces_of(HEAD, *thoughts, *held, chunk(finish="stop"), DONE, deadlines=deadlines)
    assert (error, got[-2]) == (None, Text(" data"))
    empty = [step for _ in range(8) for step in (thought(""), 0.1)]
    got, error = await pieces_of(HEAD, thought("Hm"), *empty, deadlines=deadlines)
    assert "went silent" in str(error)


async def test_reasoning_without_end_is_stopped() -> None:
    """In its own field or in the text; what came until then was given on."""
    page = "hm " * 2_000
    for script in ([thought(page)] * 17, [chunk("<think>"), *[chunk(page)] * 17]):
        got, error = await pieces_of(HEAD, *script, 5.0)
        assert isinstance(error, ModelBroke)
        assert "reasoned for more than 100,000 characters and was stopped" in str(error)
        assert sum(len(piece.text) for piece in got if isinstance(piece, Reasoning)) == 16 * len(page)


@pytest.mark.parametrize(
    ("details", "tokens"),
    [
        pytest.param({"reasoning_tokens": 5}, 5, id="counted"),
        pytest.param({}, None, id="not counted"),
        pytest.param(None, None, id="null"),
        pytest.param(5, None, id="a number"),
        pytest.param({"reasoning_tokens": "many"}, None, id="in words"),
        pytest.param({"reasoning_tokens": 99}, None, id="more than there are"),
    ],
)
async def test_the_tokens_of_the_reasoning_are_the_servers_count(details: Any, tokens: int | None) -> None:
    """None where it does not say, or cannot be right."""
    counted = {"prompt_tokens": 7, "completion_tokens": 9, "completion_tokens_details": details}
    got, error = await pieces_of(HEAD, chunk("Hi"), chunk(finish="stop"), chunk(choices=[], usage=counted), DONE)
    assert (got[-1], error) == (Done("stop", "served-model", Usage(7, 9, tokens)), None)


@pytest.mark.parametrize(
    ("script", "said", "message"),
    [
        pytest.param([HEAD, chunk("Hi")], ["Hi"], "stopped in mid-answer", id="clean end without finish"),
        pytest.param([HEAD], [], "sent no answer", id="empty 200"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>Welcome</html>"],
            [], "sent no answer", id="HTML page",
        ),
        pytest.param([HEAD, chunk("Hi"), b"data: {bad json\n\n"], ["Hi"], "broke off in mid-answer", id="bad JSON"),
        pytest.param([HEAD, chunk("Hi"), b"data: \xff\xfe\n\n"], ["Hi"], "broke off in mid-answer", id="bad UTF-8"),
        pytest.param(
            [HEAD, chunk("Hi"), b'data: {"error": {"message": "out of memory"}}\n\n'],
            ["Hi"], "mid-answer", id="error object in the stream",
        ),
        pytest.param([HEAD, chunk("Hi"), 5.0], ["Hi"], "went silent in mid-answer for 0.4 s", id="stall"),
        pytest.param([HEAD, 5.0], [], "sent nothing for 0.4 s", id="headers only"),
        pytest.param([5.0], [], "sent nothing for 0.4 s", id="no headers"),
        pytest.param(
            [HEAD, chunk("Hi"), *[b": ping\n\n", 0.1] * 30], ["Hi"], "went silent", id="pings are no text"
        ),
        pytest.param([HEAD, chunk("x" * 70_000)], [], "far too much text", id="huge piece"),
    ],
)  # fmt: skip
async def test_a_broken_answer_is_an_error_and_what_came_is_kept(
    script: list[Step], said: list[str], message: str
) -> None:
    """Every fault is a ModelError within its deadline; none looks like success."""
    started = time.monotonic()
    got, error = await pieces_of(*script)
    assert [piece.text for piece in got if isinstance(piece, Text)] == said
    assert isinstance(error, ModelBroke)
    assert message in str(error)
    assert not any(isinstance(piece, Done) for piece in got)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param(401, "refused the key (401). Set RAG_SLM_API_KEY.", id="401"),
        pytest.param(404, "does not know 'phi-4-mini' (404). Set RAG_SLM_MODEL", id="404"),
        pytest.param(429, "too much to do (429)", id="429"),
        pytest.param(307, "points elsewhere (307). Set RAG_SLM_URL", id="redirect is not followed"),
        pytest.param(503, "failed (503)", id="503"),
        pytest.param(400, "refused the question (400): prompt too long", id="400 with the server's own words"),
        pytest.param(413, "refused the question (413)", id="another"),
    ],
)
async def test_a_refusal_names_the_setting_to_change(code: int, message: str) -> None:
    """The status and the remedy; never the key."""
    script = status(code, {"error": {"message": "prompt too long"}}, Location="http://127.0.0.1:1/")
    async with model_server([script], listed=models("one", "two")) as server:
        backend = OpenAICompatible(server.url, "phi-4-mini", api_key="sk-secret", retry_backoff_s=None)
        with pytest.raises(ModelRefused) as raised:
            await events_of(backend.stream(MESSAGES, max_tokens=9, temperature=0.0))
        await backend.stop()
    assert message in str(raised.value)
    assert "sk-secret" not in str(raised.value)


async def test_nobody_there_is_known_at_once() -> None:
    """A refused connection needs no deadline."""
    backend = OpenAICompatible("http://127.0.0.1:9", "m", role="LLM")
    started = time.monotonic()
    with pytest.raises(ModelUnavailable, match=r"No model server at .*:9/v1. Start it, or set RAG_LLM_URL"):
        await events_of(backend.stream(MESSAGES, max_tokens=9, temperature=0.0))
    assert time.monotonic() - started < 2
    await backend.stop()


async def test_an_overloaded_server_is_asked_once_more() -> None:
    """One retry before the first text, none after it."""
    busy = [status(503, {"error": {"message": "loading"}})]
    async with model_server(busy, list(ANSWER)) as server:
        backend = OpenAICompatible(server.url, "m", retry_backoff_s=0.01)
        assert len(await events_of(backend.stream(MESSAGES, max_tokens=9, temperature=0.0))) == 4
        assert len(server.bodies) == 2
        await backend.stop()
    async with model_server([HEAD, chunk("Hi")], list(ANSWER)) as server:
        backend = OpenAICompatible(server.url, "m", retry_backoff_s=0.01)
        with pytest.raises(ModelBroke):
            await events_of(backend.stream(MESSAGES, max_tokens=9, temperature=0.0))
        assert len(server.bodies) == 1
        await backend.stop()


async def test_a_server_that_refuses_log_probabilities_is_asked_without_them_from_then_on() -> None:
    """After a try with fewer of the likeliest tokens; the parameter is dropped and that is remembered."""
    no = [status(400, {"error": {"message": "logprobs is not supported"}})]
    async with model_server(no, no, list(ANSWER)) as server:
        backend = OpenAICompatible(server.url, "m", retry_backoff_s=None)
        for _ in range(2):
            await events_of(backend.stream(MESSAGES, max_tokens=9, temperature=0.0))
        assert ["logprobs" in body for body in server.bodies] == [True, True, False, False]
        assert [body.get("top_logprobs") for body in server.bodies] == [5, 1, None, None]
        await backend.stop()


async def test_a_server_that_gives_one_likeliest_token_is_asked_for_one_from_then_on() -> None:
    """Its log-probabilities are worth more than those of the other tokens."""
    no = [status(400, {"error": {"message": "top_logprobs must be at most 1"}})]
    async with model_server(no, list(ANSWER)) as server:
        backend = OpenAICompatible(server.url, "m", retry_backoff_s=None)
        for _ in range(2):
            got = await events_of(backend.stream(MESSAGES, max_tokens=9, temperature=0.0))
            assert Text("Hello", (-0.5,)) in got
        assert [(body.get("logprobs"), body.get("top_logprobs")) for body in server.bodies] == [
            (True, 5), (True, 1), (True, 1),
        ]  # fmt: skip
        await backend.stop()


async def test_two_requests_that_are_refused_at_once_lower_what_is_asked_for_once() -> None:
    """Both were asked for five; that one is too many, too, nobody has said."""
    no: list[Step] = [0.2, status(400, {"error": {"message": "top_logprobs must be at most 1"}})]
    async with model_server(no, no, list(ANSWER)) as server:
        backend = OpenAICompatible(server.url, "m", retry_backoff_s=None)
        await asyncio.gather(*(events_of(backend.stream(MESSAGES, max_tokens=9, temperature=0.0)) for _ in range(2)))
        assert [body.get("top_logprobs") for body in server.bodies] == [5, 5, 1, 1]
        await backend.stop()


async def test_a_model_known_under_a_longer_id_is_found_after_a_404() -> None:
    """An alias is what people write; the server's id is what it wants."""
    no = [status(404, {"error": {"message": "no such model"}})]
    async with model_server(no, list(ANSWER), listed=models("Phi-4-mini-instruct-cpu:5", "other")) as server:
        backend = OpenAICompatible(server.url, "phi-4-mini", retry_backoff_s=None)
        await events_of(backend.stream(MESSAGES, max_tokens=9, temperature=0.0))
        assert [body["model"] for body in server.bodies] == ["phi-4-mini", "Phi-4-mini-instruct-cpu:5"]
        await backend.stop()


async def test_closing_the_stream_closes_the_connection_at_once() -> None:
    """The server stops generating within a quarter of a second."""
    async with model_server([HEAD, chunk("Hi"), 20.0, chunk(finish="stop")]) as server:
        backend = OpenAICompatible(server.url, "m")
        stream = backend.stream(MESSAGES, max_tokens=9, temperature=0.0)
        while not isinstance(await anext(stream), Text):
            pass
        await stream.aclose()
        await asyncio.wait_for(server.hung_up.wait(), 0.25)
        await backend.stop()


async def test_a_reader_who_leaves_early_leaves_no_generator_behind() -> None:
    """The garbage collector would end it, perhaps in another thread, with a traceback on the terminal."""
    async with model_server([HEAD, chunk("Hi"), chunk("there"), 5.0]) as server:
        backend = OpenAICompatible(server.url, "phi-4-mini", deadlines=QUICK, retry_backoff_s=None)
        gc.collect()
        gc.disable()
        try:
            async with aclosing(backend.stream(MESSAGES, max_tokens=9, temperature=0.0)) as stream:
                async for piece in stream:
                    if isinstance(piece, Text):
                        break
            for _ in range(20):  # each of them ends the next one inside
                await asyncio.sleep(0)
            left = [
                one
                for one in gc.get_objects()
                if type(one) is AsyncGeneratorType and one.ag_frame and one is not stream
            ]
            assert [
                one.__qualname__ for one in left if "aiter" in one.__qualname__ or "stream" in one.__qualname__
            ] == []
        finally:
            gc.enable()
            await backend.stop()


async def test_a_cancelled_reader_closes_the_connection_at_once() -> None:
    """Stop is a cancellation, in the middle of waiting for the next text."""
    async with model_server([HEAD, chunk("Hi"), 20.0]) as server:
        backend = OpenAICompatible(server.url, "m")
        reader = asyncio.create_task(events_of(backend.stream(MESSAGES, max_tokens=9, temperature=0.0)))
        await asyncio.sleep(0.3)
        reader.cancel()
        await asyncio.wait_for(server.hung_up.wait(), 0.25)
        await asyncio.gather(reader, return_exceptions=True)
        await backend.stop()


@pytest.mark.parametrize(
    ("wanted", "listed", "found"),
    [
        pytest.param("a", ["b", "a"], "a", id="exactly"),
        pytest.param("phi-4-mini", ["x", "Phi-4-mini-instruct:5"], "Phi-4-mini-instruct:5", id="by alias"),
        pytest.param(
            "phi-4-mini", ["Phi-4-mini-reasoning:1", "Phi-4-mini-instruct:5"], "Phi-4-mini-instruct:5", id="instruct"
        ),
        pytest.param("gpt-oss-20b", ["openai/gpt-oss-20b"], "openai/gpt-oss-20b", id="behind an owner"),
        pytest.param("a", ["b"], "b", id="the only one"),
        pytest.param("a", ["b", "c"], None, id="none of several"),
        pytest.param("a", [], None, id="none at all"),
    ],
)
async def test_a_model_is_resolved_among_those_listed(wanted: str, listed: list[str], found: str | None) -> None:
    """Exact, then by prefix whatever its case, then the only one there is."""
    assert resolve_model(wanted, listed) == found


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host", "http://host/v1"), ("http://host:1/", "http://host:1/v1"), ("http://host/v1/", "http://host/v1"),
        ("https://host/v1beta/openai/", "https://host/v1beta/openai"),
        ("http://host/catalogs/local/v1", "http://host/catalogs/local/v1"),
    ],
)  # fmt: skip
async def test_only_a_url_without_a_path_gets_v1(url: str, expected: str) -> None:
    """A path that somebody wrote is meant."""
    assert normalise_url(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1/v1", True), ("http://localhost", True), ("http://[::1]:8/", True),
        ("http://10.0.0.1", False), ("https://example.com", False), ("http://localhost.example.com", False),
    ],
)  # fmt: skip
async def test_loopback_is_this_machine_only(url: str, expected: bool) -> None:
    """A name that only begins like localhost is elsewhere."""
    assert is_loopback(url) is expected

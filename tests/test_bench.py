"""The rows of `bench`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rag.backends.base import Done, Reasoning, Text, Usage
from rag.backends.embedded import Embedded, find_embedded_model
from rag.backends.openai_compatible import OpenAICompatible
from rag.backends.scripted import Script, ScriptedBackend
from rag.errors import ModelBroke, ModelUnavailable
from rag.workbench.bench import Bench, Plan
from rag.workbench.contenders import Contender
from rag.workbench.promptset import Prompt
from tests.model_server import model_server
from tests.timed import At, Timed

pytestmark = pytest.mark.anyio

ONE = [Prompt("Why?")]
FIELDS = [
    "alias", "latency_avg", "latency_p95", "tokens_per_sec_avg", "rounds", "first_token_latency_avg",
    "status", "error", "label", "model", "where", "rounds_ok", "latency_p50", "latency_min", "latency_max",
    "first_token_latency_p50", "first_token_latency_p95", "first_token_latency_min", "first_token_latency_max",
    "decode_tokens_per_sec_avg", "workshop_tokens_per_sec_avg", "prompt_tokens_avg", "completion_tokens_avg",
    "reasoning_tokens_avg", "tokens_counted", "memory_mb", "disk_mb", "facets", "prompts", "max_tokens", "temperature",
    "sample", "when", "machine",
]  # fmt: skip


def broken(times: int) -> list[Script]:
    """A model that breaks so often, in the middle."""
    return [Script("one two", error=ModelBroke("It broke."), error_after=1)] * times


def contender(*scripts: Script | str, alias: str = "m") -> Contender:
    """A model that plays scripts: the first is the answer to the greeting."""
    return Contender(alias, ScriptedBackend(*scripts))


async def rows_of(*contenders: Contender, steps: list[int] | None = None, **plan: Any) -> list[dict[str, Any]]:
    """What is measured of these."""
    bench = Bench(contenders, Plan(**{"prompts": ONE, **plan}), step=(steps if steps is not None else []).append)
    async with asyncio.timeout(120):
        await bench.run()
    return bench.rows()


async def test_a_row_has_the_workshops_fields_first() -> None:
    """Who reads the workshop's JSON can read ours."""
    (row,) = await rows_of(contender("Hello.", "It is so."), label="gpu", rounds=2)
    assert list(row) == FIELDS
    assert (row["alias"], row["rounds"], row["rounds_ok"], row["status"], row["error"]) == ("m", 2, 2, "ok", None)
    assert (row["label"], row["model"], row["where"]) == ("gpu", "scripted stand-in", "a script")
    assert (row["sample"], row["completion_tokens_avg"], row["tokens_counted"]) == ("It is so.", 3.0, "server")
    assert (row["facets"], row["prompts"], row["memory_mb"], row["disk_mb"]) == (None, 1, None, None)
    assert row["machine"]["cores"] >= 1
    assert row["when"][10] == "T"


_DONE = Done("stop", "served", Usage(30, 100, 95))


def answer(*times: float) -> list[At]:
    """A word at each of these times, and the end with the last one."""
    words: list[At] = [(at, Text("word ")) for at in times]
    return [*words, (times[-1], Done("stop", "served", Usage(30, len(times))))]


async def test_the_figures_are_those_of_the_calls_without_the_warm_up() -> None:
    """Both latencies are of the same calls; the greeting took nine seconds and counts for nothing; nor do prompts."""
    backend = Timed(answer(9.0), answer(0.5, 1.0), answer(1.0, 2.0), answer(1.5, 3.0))
    bench = Bench([Contender("m", backend)], Plan(ONE, rounds=3), clock=backend.clock)
    await bench.run()
    (row,) = bench.rows()
    latency = [row[f"latency_{name}"] for name in ("avg", "p50", "p95", "min", "max")]
    first = [row[f"first_token_latency_{name}"] for name in ("avg", "p50", "p95", "min", "max")]
    assert latency == [2.0, 2.0, 2.9, 1.0, 3.0]
    assert first == [1.0, 1.0, 1.45, 0.5, 1.5]
    assert row["tokens_per_sec_avg"] == round((2 / 1 + 2 / 2 + 2 / 3) / 3, 2)
    assert row["workshop_tokens_per_sec_avg"] == round((32 / 1 + 32 / 2 + 32 / 3) / 3, 2)
    assert row["decode_tokens_per_sec_avg"] == round((1 / 0.5 + 1 / 1 + 1 / 1.5) / 3, 2)
    assert (row["prompt_tokens_avg"], row["completion_tokens_avg"], row["model"]) == (30.0, 2.0, "served")


async def test_what_a_model_thinks_is_billed_and_is_no_part_of_its_rate() -> None:
    """A hundred tokens are paid for, of which five are the answer's; a report reckons with the hundred."""
    pieces: list[At] = [(0.1, Reasoning("Hm.")), (1.0, Text("It")), (2.0, Text(" is.")), (2.0, _DONE)]
    backend = Timed(pieces)
    bench = Bench([Contender("m", backend)], Plan(ONE, rounds=2), clock=backend.clock)
    await bench.run()
    (row,) = bench.rows()
    assert (row["completion_tokens_avg"], row["reasoning_tokens_avg"]) == (100.0, 95.0)
    assert (row["tokens_per_sec_avg"], row["decode_tokens_per_sec_avg"]) == (2.5, 4.0)
    assert row["tokens_counted"] == "server"


async def test_the_figures_of_a_single_call_are_that_call() -> None:
    """There is nothing to lie between."""
    backend = Timed(answer(0.25, 1.0))
    bench = Bench([Contender("m", backend)], Plan(ONE, rounds=1), clock=backend.clock)
    await bench.run()
    (row,) = bench.rows()
    assert {row[f"latency_{name}"] for name in ("avg", "p50", "p95", "min", "max")} == {1.0}


async def test_what_is_asked_is_what_the_plan_says() -> None:
    """Tokens and temperature go to the server; each round asks every prompt."""
    prompts = [Prompt("One?", "1"), Prompt("Two?", "2")]
    async with model_server() as server:
        backend = OpenAICompatible(server.url, "m")
        (row,) = await rows_of(Contender("m", backend), prompts=prompts, rounds=2, max_tokens=7, temperature=0.5)
        await backend.stop()
    sent = [(body["messages"][0]["content"], body["max_tokens"], body["temperature"]) for body in server.bodies[1:]]
    assert sent == [("One?", 7, 0.5), ("Two?", 7, 0.5)] * 2
    assert (row["rounds"], row["rounds_ok"], row["prompts"]) == (2, 2, 2)


async def test_without_the_first_text_its_figures_are_null() -> None:
    """`BENCH_STREAM=0`: what was not asked for is not told."""
    (row,) = await rows_of(contender("Hello.", "It is so."), first_text=False)
    first = [name for name in row if name.startswith("first_token")]
    assert {row[name] for name in [*first, "decode_tokens_per_sec_avg"]} == {None}
    assert row["latency_avg"] is not None


async def test_facets_are_averaged_over_the_prompts_that_have_some() -> None:
    """A prompt without any says nothing."""
    prompts = [Prompt("a", "1", facets=("so", "is")), Prompt("b", "2"), Prompt("c", "3", facets=("zebra",))]
    (row,) = await rows_of(contender("Hello.", "It is so."), prompts=prompts, rounds=1)
    assert row["facets"] == 0.5


async def test_a_model_that_fails_is_a_row_and_the_others_are_measured() -> None:
    """It is given up after two failures in a row, and its calls count as done."""
    steps: list[int] = []
    nobody = Contender("gone", None, "There is none.")
    bad = contender(*broken(9), alias="bad")
    rows = await rows_of(nobody, bad, contender("Hello."), rounds=3, steps=steps)
    assert [(row["alias"], row["status"], row["error"]) for row in rows] == [
        ("gone", "failed", "There is none."),
        ("bad", "failed", "It broke."),
        ("m", "ok", None),
    ]
    assert rows[0]["latency_avg"] is rows[0]["model"] is rows[0]["where"] is rows[0]["tokens_counted"] is None
    assert isinstance(bad.backend, ScriptedBackend)
    assert len(bad.backend.requests) == 2
    assert sum(steps) == 9


async def test_a_failure_in_between_makes_a_row_partial() -> None:
    """The figures are of the calls that did not fail."""
    (row,) = await rows_of(contender("Hello.", "It is so.", *broken(1), "It is so."), rounds=3)
    assert (row["status"], row["error"], row["rounds_ok"]) == ("partial", "It broke.", 2)
    assert row["latency_avg"] is not None


async def test_a_warm_up_that_fails_is_no_end() -> None:
    """A server that was just loading the model answers the next time; nothing is said of it then."""
    (row,) = await rows_of(contender(*broken(1), "It is so."), rounds=2)
    assert (row["status"], row["error"], row["rounds_ok"]) == ("ok", None, 2)


async def test_a_model_that_is_not_there_is_asked_once() -> None:
    """Waiting for it in every round would tell no more."""
    gone = contender(Script("", error=ModelUnavailable("Nobody.")))
    (row,) = await rows_of(gone, rounds=9)
    assert (row["status"], row["error"]) == ("failed", "Nobody.")
    assert isinstance(gone.backend, ScriptedBackend)
    assert len(gone.backend.requests) == 1


async def test_a_stop_keeps_what_is_measured() -> None:
    """A model that was in the middle is partial; one of which nothing is known has no row."""
    one, two = (
        contender("Hello.", alias="one"),
        contender("Hello.", "It is so.", Script("slow", pace_s=60), alias="two"),
    )
    bench = Bench([one, two, contender("x", alias="three")], Plan(ONE, rounds=3))
    task = asyncio.create_task(bench.run())
    assert isinstance(two.backend, ScriptedBackend)
    async with asyncio.timeout(10):
        while len(two.backend.requests) < 3:
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    first, second = bench.rows()
    assert (first["alias"], first["status"]) == ("one", "ok")
    assert (second["alias"], second["status"], second["rounds_ok"]) == ("two", "partial", 1)
    assert second["error"] == "Stopped before all rounds were done."
    assert two.backend.open == 0


@pytest.mark.model
async def test_the_embedded_model_is_measured_with_its_memory_and_unloaded() -> None:
    """Its file and its process are ours to see; afterwards it holds nothing."""
    backend = Embedded(find_embedded_model())
    (row,) = await rows_of(Contender("own", backend), rounds=2, max_tokens=12)
    assert (row["status"], row["tokens_counted"], row["rounds_ok"]) == ("ok", "server", 2)
    assert 0 < row["first_token_latency_avg"] < row["latency_avg"]
    assert row["decode_tokens_per_sec_avg"] > row["tokens_per_sec_avg"] * 0.5
    assert row["workshop_tokens_per_sec_avg"] > row["tokens_per_sec_avg"]
    assert row["disk_mb"] > 50
    assert row["memory_mb"] is None or row["memory_mb"] > row["disk_mb"] * 0.5
    assert not backend.ready
    assert backend.pid is None

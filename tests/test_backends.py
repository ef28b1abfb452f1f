"""The one suite that every backend must pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from rag.backends.base import Backend, Done, Opened, Reasoning, Text
from rag.backends.embedded import Embedded, find_embedded_model, label_of
from rag.backends.openai_compatible import OpenAICompatible
from rag.backends.scripted import Script, ScriptedBackend
from rag.errors import ModelUnavailable
from tests.conftest import events_of
from tests.model_server import ANSWER, HEAD, chunk, model_server

pytestmark = pytest.mark.anyio

MESSAGES = [{"role": "user", "content": "Say hello."}]


KINDS = ["scripted", "scripted that reasons", "openai_compatible", "openai_compatible that reasons"]
THINKS = [HEAD, chunk("<think>"), chunk("Easy."), chunk("</think>"), *ANSWER[1:]]


@pytest.fixture(params=[*KINDS, pytest.param("embedded", marks=pytest.mark.model)])
async def backend(request: pytest.FixtureRequest) -> AsyncGenerator[Backend, None]:
    """Each kind of backend, started."""
    reasons = "reasons" in request.param
    if request.param.startswith("scripted"):
        yield ScriptedBackend(Script("Hello there.", reasoning="Easy." if reasons else ""))
        return
    if request.param.startswith("openai_compatible"):
        async with model_server(THINKS if reasons else ANSWER) as server:
            remote = OpenAICompatible(server.url, "m")
            await remote.start()
            yield remote
            await remote.stop()
        return
    embedded = Embedded(find_embedded_model())
    await embedded.start()
    yield embedded
    await embedded.stop()


async def test_pieces_come_in_order(backend: Backend) -> None:
    """`Opened`, perhaps `Reasoning`, at least one `Text`, and one `Done` at the end with a model's name."""
    got = await events_of(backend.stream(MESSAGES, max_tokens=12, temperature=0.0))
    assert isinstance(got[0], Opened)
    assert all(isinstance(piece, Text | Reasoning) and piece.text for piece in got[1:-1])
    assert isinstance(got[-2], Text)
    assert isinstance(got[-1], Done)
    assert got[-1].model
    assert got[-1].usage


async def test_a_closed_stream_leaves_the_backend_usable(backend: Backend) -> None:
    """Stop, then ask again."""
    stream = backend.stream(MESSAGES, max_tokens=200, temperature=0.0)
    while not isinstance(await anext(stream), Text):
        pass
    await stream.aclose()
    assert isinstance((await events_of(backend.stream(MESSAGES, max_tokens=4, temperature=0.0)))[-1], Done)


async def test_starting_twice_is_starting_once(backend: Backend) -> None:
    """`start` says nothing new the second time."""
    await backend.start()
    assert backend.ready


@pytest.mark.model
async def test_an_embedded_model_that_is_damaged_says_which_file(tmp_path: Path) -> None:
    """A cut download, or no model at all, is a sentence and leaves no process behind."""
    for content in (b"", b"nope" * 1000, find_embedded_model().read_bytes()[:3_000_000]):
        path = tmp_path / "bad.gguf"
        path.write_bytes(content)
        broken = Embedded(path)
        with pytest.raises(ModelUnavailable, match=r"bad\.gguf cannot be loaded as a model"):
            await broken.start()
        assert not broken.ready
        await broken.stop()


@pytest.mark.model
async def test_an_embedded_model_whose_process_died_is_loaded_again() -> None:
    """One crash costs one reload, not the chat."""
    model = Embedded(find_embedded_model())
    await model.start()
    assert model._process is not None
    model._process.kill()
    await model._process.wait()
    assert not model.ready
    assert isinstance((await events_of(model.stream(MESSAGES, max_tokens=4, temperature=0.0)))[-1], Done)
    await model.stop()
    assert not model.ready


@pytest.mark.model
async def test_an_idle_model_is_unloaded_and_comes_back() -> None:
    """Memory is given back, and the next question loads it again."""

    model = Embedded(find_embedded_model(), idle_s=0.2)
    await events_of(model.stream(MESSAGES, max_tokens=2, temperature=0.0))
    assert model.ready
    for _ in range(50):
        await asyncio.sleep(0.1)
        if not model.ready:
            break
    assert not model.ready
    await events_of(model.stream(MESSAGES, max_tokens=2, temperature=0.0))
    assert model.ready
    await model.stop()


async def test_a_label_is_the_file_without_its_quantisation() -> None:
    """What people call the model."""

    assert label_of(Path("SmolLM2-135M-Instruct.Q4_1.gguf")) == "SmolLM2-135M-Instruct"
    assert label_of(Path("my.model.gguf")) == "my.model"

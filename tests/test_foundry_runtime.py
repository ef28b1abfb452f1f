"""Foundry Local's real runtime, where its SDK is installed: without a network, and with a model of one's own."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from rag.backends.base import Done, Text
from rag.backends.choose import choose_models
from rag.backends.foundry import Service
from rag.backends.foundry_local import FoundryLocal
from rag.backends.foundry_runtime import FoundryRuntime
from rag.errors import ModelRefused, ModelUnavailable
from rag.settings import Settings

pytestmark = pytest.mark.anyio

# Nobody is there: what the runtime does without a network, also on a machine that has one.
NOWHERE = "http://127.0.0.1:9/asset-gallery/v1.0/models"
# A folder with a model in ONNX, as benchmarks/onnx_model.py makes it.
ONNX = Path(os.environ.get("RAG_TEST_ONNX", "nowhere"))
MESSAGES = [{"role": "user", "content": "Count from one to fifty in words."}]

installed = pytest.mark.skipif(
    importlib.util.find_spec("foundry_local_sdk") is None, reason="needs requirements-foundry.txt"
)
has_model = pytest.mark.skipif(
    not (ONNX / "genai_config.json").is_file(), reason="needs RAG_TEST_ONNX, a folder made by benchmarks/onnx_model.py"
)


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncGenerator[FoundryRuntime, None]:
    """A runtime without a network; its own model is called a stand-in, as it is one."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "broken").mkdir()
    (own / "broken" / "genai_config.json").write_text("{")
    if ONNX.is_dir():
        (own / "SmolLM2-stand-in").symlink_to(ONNX.absolute())
    made = FoundryRuntime(own, tmp_path / "cache", NOWHERE)
    yield made
    await made.stop()


def of(runtime: FoundryRuntime, alias: str) -> FoundryLocal:
    """A model of that runtime."""

    async def find(alias: str, tell: object) -> Service:
        return await runtime.service(alias, lambda text: None)

    return FoundryLocal(alias, find)


async def test_without_its_package_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """RAG_FOUNDRY=embed on an installation that has it not."""
    monkeypatch.setitem(__import__("sys").modules, "foundry_local_sdk", None)
    models = await choose_models(Settings(foundry="embed"))
    assert isinstance(models.slm, FoundryLocal)
    with pytest.raises(ModelUnavailable, match=r"pip install -r requirements-foundry\.txt"):
        await models.slm.start()
    await models.slm.stop()


@installed
async def test_the_runtime_starts_knows_no_model_and_ends(runtime: FoundryRuntime) -> None:
    """Without a network its list is empty, which is said; it can be started again afterwards."""
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="phi-4-mini is not on this machine"):
            await of(runtime, "phi-4-mini").start()
        await runtime.stop()
        await runtime.stop()


@installed
async def test_the_event_loop_goes_on_while_it_starts(runtime: FoundryRuntime) -> None:
    """Its first list takes seconds without a network; nobody else waits for them."""
    worst, last = 0.0, time.perf_counter()
    work = asyncio.create_task(of(runtime, "phi-4-mini").start())
    while not work.done():
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        worst, last = max(worst, now - last), now
    assert isinstance(work.exception(), ModelUnavailable)
    assert worst < 0.5  # 0.05 on an idle machine; these are not


@installed
async def test_a_folder_that_is_no_model_is_told_of(runtime: FoundryRuntime) -> None:
    """With its path."""
    with pytest.raises(ModelRefused, match=r"own/broken"):
        await of(runtime, "broken").start()


@installed
async def test_a_start_that_is_cancelled_leaves_a_runtime_that_can_be_used(runtime: FoundryRuntime) -> None:
    """Stop while it begins; the SDK would refuse a second one."""
    work = asyncio.create_task(of(runtime, "phi-4-mini").start())
    await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    with pytest.raises(ModelUnavailable, match="phi-4-mini is not on this machine"):
        await of(runtime, "phi-4-mini").start()


@installed
@has_model
async def test_a_folder_that_moved_is_registered_anew(tmp_path: Path) -> None:
    """The SDK remembers the old one across runs."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "SmolLM2-moved").symlink_to(ONNX.absolute())
    for name in ("one", "two"):
        made = FoundryRuntime(tmp_path / name, tmp_path / "cache", NOWHERE)
        model = of(made, "SmolLM2-moved")
        await model.start()
        assert model.label == "SmolLM2-moved:1"
        await model.stop()
        await made.stop()
        (tmp_path / name / "SmolLM2-moved").unlink()


@installed
@has_model
async def test_a_model_of_ones_own_answers_and_is_stopped_in_the_middle(runtime: FoundryRuntime) -> None:
    """Streamed, under the id that it is registered with, without log-probabilities; then once more."""
    model = of(runtime, "SmolLM2-stand-in")
    await model.start()
    assert (model.label, model.ready) == ("SmolLM2-stand-in:1", True)
    for most in (3, 10_000):
        stream = model.stream(MESSAGES, max_tokens=60, temperature=0.0)
        pieces = []
        async for piece in stream:
            pieces.append(piece)
            if isinstance(piece, Text) and len(pieces) > most:
                break
        await stream.aclose()
    texts = [piece for piece in pieces if isinstance(piece, Text)]
    assert "".join(piece.text for piece in texts)
    assert all(piece.logprobs is None for piece in texts)
    assert isinstance(pieces[-1], Done)
    assert pieces[-1].usage
    assert pieces[-1].model == "SmolLM2-stand-in:1"
    await model.stop()

"""Every backend against the one suite that it must pass."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from examples.custom_backend import Program
from rag.backends.base import Backend, Done, Text
from rag.backends.custom import Guarded
from rag.backends.embedded import Embedded, find_embedded_model, label_of
from rag.backends.foundry import look_at
from rag.backends.foundry_local import FoundryLocal
from rag.backends.openai_compatible import OpenAICompatible
from rag.backends.scripted import Script, ScriptedBackend
from rag.errors import ModelBroke, ModelUnavailable
from tests.backend_suite import BackendSuite
from tests.conftest import events_of
from tests.foundry_server import foundry_server
from tests.model_server import DONE, HEAD, ModelServer, Step, chunk, model_server, usage

pytestmark = pytest.mark.anyio

MESSAGES = [{"role": "user", "content": "Say hello."}]
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"] * 3
PIECE_S = 0.005

# A program that reads a prompt and says a word after the other, as a model behind a command would.
COUNTING = f"""
import sys, time
sys.stdin.read()
for word in {WORDS!r}:
    print(word, end=" ", flush=True)
    time.sleep({PIECE_S})
"""
FAILING = "import sys; sys.stdin.read(); print('one two', flush=True); sys.exit(3)"


class TalkingServer(ModelServer):
    """A model server that says as many words as it may, one after the other."""

    thoughts: tuple[str, ...] = ()

    async def _play(self, script: list[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if script != [self.listed]:
            most = self.bodies[-1]["max_tokens"]
            said = (WORDS * 20)[:most]
            script = [HEAD, *map(chunk, self.thoughts)]
            script += [step for word in said for step in (chunk(f"{word} ", logprob=-0.1), PIECE_S)]
            script += [chunk(finish="length"), usage(7, most), DONE]
        await super()._play(script, reader, writer)


class TestScripted(BackendSuite):
    """The stand-in of the tests must not be more lenient than what it stands for."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Plays the same words whatever it is asked."""
        return ScriptedBackend(Script(" ".join(WORDS), logprob=-0.1, pace_s=PIECE_S))

    @pytest.fixture
    def broken(self) -> Backend:
        """Fails after two words."""
        return ScriptedBackend(Script("one two three", error=ModelBroke("It broke."), error_after=2))

    async def test_the_limit_of_tokens_is_kept_roughly(self, backend: Backend) -> None:
        """Its script is the whole of it."""
        pytest.skip("a script is played to its end, whatever the limit")


class TestScriptedThatReasons(TestScripted):
    """What it thinks comes first."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Thinks two words."""
        return ScriptedBackend(Script(" ".join(WORDS), pace_s=PIECE_S, reasoning="Easy enough."))


class TestOpenAICompatible(BackendSuite):
    """A server's client."""

    thoughts: tuple[str, ...] = ()

    @pytest.fixture
    async def backend(self) -> AsyncGenerator[Backend, None]:
        """Over loopback, with a server that hears when it is hung up on."""
        server = TalkingServer([[]])
        server.thoughts = self.thoughts
        async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
            remote = OpenAICompatible(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", "m")
            await remote.start()
            yield remote
            await remote.stop()

    @pytest.fixture
    async def broken(self) -> AsyncGenerator[Backend, None]:
        """Its server hangs up in the middle."""
        async with model_server([HEAD, chunk("Hello")]) as server:
            remote = OpenAICompatible(server.url, "m")
            yield remote
            await remote.stop()


class TestOpenAICompatibleThatReasons(TestOpenAICompatible):
    """Its server lets the model's thoughts through."""

    thoughts = ("<think>", "Easy", " enough.", "</think>")


class TestFoundryLocal(BackendSuite):
    """A model of a Foundry Local service, loaded by its alias."""

    @pytest.fixture
    async def backend(self) -> AsyncGenerator[Backend, None]:
        """A service that says a word after the other."""
        async with foundry_server(answer=" ".join(WORDS * 20), pause_s=PIECE_S) as server:
            model = FoundryLocal("phi-4-mini", lambda alias, tell: look_at(server.url))
            await model.start()
            yield model
            await model.stop()

    @pytest.fixture
    async def broken(self) -> AsyncGenerator[Backend, None]:
        """A service that has not downloaded the model."""
        async with foundry_server(downloaded=set()) as server:
            model = FoundryLocal("phi-4-mini", lambda alias, tell: look_at(server.url))
            yield model
            await model.stop()


@pytest.mark.model
class TestEmbedded(BackendSuite):
    """The model that came with the installation."""

    @pytest.fixture
    async def backend(self) -> AsyncGenerator[Backend, None]:
        """In a process of its own, which it keeps until it is stopped."""
        embedded = Embedded(find_embedded_model())
        await embedded.start()
        yield embedded
        await embedded.stop()

    @pytest.fixture
    async def broken(self, tmp_path: Path) -> AsyncGenerator[Backend, None]:
        """No model at all."""
        path = tmp_path / "bad.gguf"
        path.write_bytes(b"nope")
        embedded = Embedded(path)
        yield embedded
        await embedded.stop()


class TestTheExample(BackendSuite):
    """The example of a backend of one's own keeps every promise too."""

    @pytest.fixture
    def backend(self) -> Backend:
        """A program that counts."""
        return Program([sys.executable, "-c", COUNTING])

    @pytest.fixture
    def broken(self) -> Backend:
        """A program that ends with a fault."""
        return Program([sys.executable, "-c", FAILING])


class TestGuarded(TestTheExample):
    """What stands in front of a backend of one's own must not be in its way."""

    @pytest.fixture
    def backend(self) -> Backend:
        """The example, as a setting would load it."""
        return Guarded(Program([sys.executable, "-c", COUNTING]), "mine:make")


async def test_the_example_takes_a_prompt_that_its_program_does_not_read() -> None:
    """A program may end before it has read everything."""
    program = Program([sys.executable, "-c", "print('done')"])
    prompt = [{"role": "user", "content": "word " * 200_000}]
    pieces = await events_of(program.stream(prompt, max_tokens=40, temperature=0.0))
    assert "".join(piece.text for piece in pieces if isinstance(piece, Text)).strip() == "done"


async def test_the_example_ends_what_its_program_has_started() -> None:
    """A shell's own children would hold the pipe, and Stop would wait for them."""
    if not hasattr(os, "killpg"):
        pytest.skip("no groups of processes here")
    shell = Program(["sh", "-c", "echo one; sleep 20; echo two"])
    stream = shell.stream(MESSAGES, max_tokens=40, temperature=0.0)
    while not isinstance(await anext(stream), Text):
        pass
    async with asyncio.timeout(2):
        await stream.aclose()


async def test_the_example_says_which_program_is_not_there() -> None:
    """Before anything is asked."""
    with pytest.raises(ModelUnavailable, match="There is no program for MODEL_COMMAND='no-such-model run'"):
        await Program(["no-such-model", "run"]).start()


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

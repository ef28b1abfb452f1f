"""A backend of the user's own, by its name in the settings."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from examples.custom_backend import Program
from rag.assistant import build_assistant
from rag.backends.base import Backend, Done, Opened, Piece, Reasoning, Text, Usage, is_ours, loading_text
from rag.backends.choose import choose_models
from rag.backends.custom import Guarded, limit, load_backend
from rag.check import look_at
from rag.errors import ModelBroke, ModelError, ModelUnavailable, SettingsError
from rag.prompts import Message
from rag.settings import Settings, load_settings
from tests.conftest import events_of

pytestmark = pytest.mark.anyio

EXAMPLE = "examples.custom_backend:make"
SAYS = "import sys; sys.stdin.read(); print('Hold the reset button for ten seconds.')"
QUESTION = "For how long must I hold the reset button?"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes modules into the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])

    def module(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)

    return module


def test_a_module_in_the_working_folder_is_found(write: Callable[[str, str], None]) -> None:
    """Also where Python was not started in it."""
    write(
        "mine", "from rag.backends.scripted import ScriptedBackend\n\ndef make():\n    return ScriptedBackend('Yes.')\n"
    )
    assert load_backend("mine:make", setting="RAG_SLM_BACKEND").label == "scripted stand-in"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("no_such_one:make", "", "RAG_SLM_BACKEND: there is no module no_such_one in ", id="no module"),
        pytest.param("mine:mak", "def make(): pass", "mine has no factory mak. Did you mean make?", id="no factory"),
        pytest.param("mine:other", "make = 1", "mine has no factory other. docs/models.md", id="nothing like it"),
        pytest.param("mine:make", "import no_torch", "mine cannot be imported (ModuleNotFoundError: No", id="import"),
        pytest.param("mine:make", "def make(:", "mine cannot be imported (SyntaxError: ", id="syntax"),
        pytest.param("mine:make", "raise SystemExit(3)", "mine cannot be imported (SystemExit: 3). Mend", id="exit"),
        pytest.param("mine:make", "def make(): 1 / 0", "mine:make failed (ZeroDivisionError: division", id="fails"),
        pytest.param("mine:make", "def make(a): pass", "mine:make failed (TypeError: make() missing 1", id="arguments"),
        pytest.param(
            "mine:make", "def make(): return {}",
            "made no backend, as what it made (dict) lacks label, where, ready, start, stop, stream. docs/models.md",
            id="another thing",
        ),
        pytest.param(
            "mine:Make", "class Make:\n label = 'a'; where = ''; ready = True\n start = stop = stream = print",
            "made no backend, as its where must be a text that is not empty.", id="empty text",
        ),
        pytest.param(
            "mine:Make", "class Make:\n label = where = 'a'; ready = True\n start = stop = stream = print",
            "made no backend, as its start must be an async function.", id="not async",
        ),
        pytest.param(
            "mine:Make",
            "class Make:\n label = where = 'a'; ready = True\n async def start(self): pass\n stop = stream = start",
            "made no backend, as its stream must be an async generator: an async function with yield", id="no stream",
        ),
        pytest.param(
            "mine:Make",
            "class Make:\n where = 'a'; ready = True\n @property\n def label(self): raise KeyError('no key')",
            "made no backend, as its label cannot be read (KeyError: 'no key')", id="a label that fails",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_backend_of_ones_own_is_a_sentence(
    write: Callable[[str, str], None], name: str, text: str, message: str
) -> None:
    """With the setting, the name, and what to do; never a traceback."""
    if text:
        write("mine", text)
    with pytest.raises(ModelUnavailable) as raised:
        load_backend(name, setting="RAG_SLM_BACKEND")
    assert message in str(raised.value)
    assert "RAG_SLM_BACKEND" in str(raised.value)


@pytest.mark.parametrize("value", ["mine", "mine.py:make", "mine:", ":make", "a b:make", "mine:make()", "../mine:make"])
def test_a_name_of_another_shape_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A path is no name of a module."""
    monkeypatch.setenv("RAG_LLM_BACKEND", value)
    with pytest.raises(SettingsError, match="RAG_LLM_BACKEND must be module:factory, such as "):
        load_settings()


def test_only_one_way_to_give_a_model_may_be_set() -> None:
    """Neither is silently preferred."""
    with pytest.raises(SettingsError, match=r"RAG_SLM_URL and RAG_SLM_BACKEND are both set\. Keep one\."):
        load_settings(slm_url="http://x", slm_backend=EXAMPLE)


async def test_the_example_answers_as_the_small_model(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name in the settings, through the whole of the chat's brain."""
    monkeypatch.setenv("MODEL_COMMAND", shlex.join([sys.executable, "-c", SAYS]))
    assistant = build_assistant(Settings(docs_dir=docs, slm_backend=EXAMPLE, by_meaning=False))
    await assistant.start()
    try:
        assert assistant.faults == []
        answer = (await events_of(assistant.ask(QUESTION)))[-1].answer
    finally:
        await assistant.stop()
    assert (answer.route, answer.plain) == ("slm", "Hold the reset button for ten seconds.")


async def test_a_small_model_that_cannot_be_made_leaves_the_quotation(docs: Path) -> None:
    """The page opens, says why, and quotes; the check says it too."""
    assistant = build_assistant(Settings(docs_dir=docs, slm_backend="no_such_one:make", by_meaning=False))
    await assistant.start()
    try:
        assert "there is no module no_such_one" in assistant.faults[0]
        answer = (await events_of(assistant.ask(QUESTION)))[-1].answer
        found = {finding.name: finding for finding in await look_at(assistant)}
    finally:
        await assistant.stop()
    assert answer.route == "quoted"
    assert found["SLM"].state == "fault"
    assert "there is no module no_such_one" in found["SLM"].text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param("yield Opened(); raise ValueError('no weights')", "failed (ValueError: no weights)", id="raises"),
        pytest.param("yield 'hello'", "it gave str, not Opened, Text, Reasoning or Done", id="another thing"),
    ],
)
async def test_a_backend_that_fails_in_its_own_way_costs_no_answer_and_shows_no_traceback(
    write: Callable[[str, str], None], docs: Path, body: str, message: str
) -> None:
    """Its author forgot to make it a ModelError: the evidence is quoted, and the check says what happened."""
    write(
        "mine",
        "from rag.backends.base import Opened\n\n"
        "class Make:\n    label, where, ready = 'mine', 'here', True\n\n    async def start(self): pass\n\n"
        "    async def stop(self): raise OSError('stuck')\n\n"
        f"    async def stream(self, messages, *, max_tokens, temperature):\n        {body}\n",
    )
    assistant = build_assistant(Settings(docs_dir=docs, slm_backend="mine:Make", by_meaning=False))
    await assistant.start()
    try:
        answer = (await events_of(assistant.ask(QUESTION)))[-1].answer
        found = {finding.name: finding for finding in await look_at(assistant)}
    finally:
        await assistant.stop()
    assert answer.route == "quoted"
    assert message in answer.reason
    assert found["SLM"].state == "fault"
    assert message in found["SLM"].text


async def test_a_large_model_that_cannot_be_made_is_a_fault_and_the_small_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a program that is not there is a fault at start, before anybody asks."""
    monkeypatch.setenv("MODEL_COMMAND", "no-such-model run")
    chosen = await choose_models(Settings(slm_backend=EXAMPLE, llm_backend="no_such_one:make"))
    assert isinstance(chosen.slm, Guarded)
    assert isinstance(chosen.slm.inner, Program)
    assert chosen.llm is None
    assert "no program for MODEL_COMMAND='no-such-model run'" in chosen.faults[0]
    assert "RAG_LLM_BACKEND: there is no module no_such_one" in chosen.faults[1]
    assert chosen.no_llm == chosen.faults[1]


class Own:
    """A backend of a user, which gives these pieces; a number is a pause, in seconds."""

    label, where, ready = "own", "a cloud", True

    def __init__(self, *pieces: object) -> None:
        self._pieces = pieces

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to free."""

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """Whatever it was given."""
        for piece in self._pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            elif isinstance(piece, BaseException):
                raise piece
            else:
                yield cast(Piece, piece)


async def pieces_of(backend: Backend) -> list[Piece]:
    """All that it gives."""
    return await events_of(backend.stream([], max_tokens=9, temperature=0.0))


async def test_what_a_backend_of_ones_own_thinks_passes() -> None:
    """As from any other."""
    given = [Opened(), Reasoning("Hm."), Text("Paris"), Done("stop", "own", Usage(5, 2, 1))]
    assert await pieces_of(Guarded(Own(*given), "mine")) == given


def test_what_only_some_backends_have_is_seen_through_the_guard() -> None:
    """Whether its tokens cost something, what it is loading, and its alias; and only what it has."""

    class Cloud(Own):
        is_ours, loading, alias = False, "Fetching the weights …", "cloud"

    guarded, plain = Guarded(Cloud(), "mine"), Guarded(Own(), "mine")
    assert (is_ours(guarded), loading_text(guarded), getattr(guarded, "alias", "")) == (
        False, "Fetching the weights …", "cloud",
    )  # fmt: skip
    assert (is_ours(plain), loading_text(plain), hasattr(plain, "alias")) == (True, "Loading own …", False)


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        pytest.param(Text(cast(str, None)), "the text of its Text is NoneType, not str", id="no text"),
        pytest.param(Reasoning(cast(str, 3)), "the text of its Reasoning is int, not str", id="no thought"),
        pytest.param(Text("a", logprobs=cast(Any, ["x"])), "the logprobs of its Text are", id="no log-probabilities"),
        pytest.param(Done(cast(str, None), "m"), "must have a finish and a model, both str", id="no finish"),
        pytest.param(Done("stop", "m", cast(Any, {"prompt": 1})), "and a Usage or None", id="no usage"),
        pytest.param(Done("stop", "m", Usage(1, -1)), "not whole numbers from 0", id="tokens below 0"),
        pytest.param(SystemExit(3), "mine failed (SystemExit: 3)", id="an exit"),
    ],
)
async def test_a_piece_that_is_none_is_a_failure_with_its_reason(piece: object, message: str) -> None:
    """Before it reaches what would break on it."""
    with pytest.raises(ModelBroke) as raised:
        await pieces_of(Guarded(Own(Opened(), Text("a"), piece), "mine"))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        pytest.param((Opened(), 60.0), "sent no text for 0.05 s. Mend it, or raise RAG_FIRST_TEXT_S.", id="never"),
        pytest.param(
            (Opened(), Text("a"), 60.0), "sent no text for 0.06 s. Mend it, or raise RAG_BETWEEN_TEXTS_S.", id="stuck"
        ),
    ],
)
async def test_a_backend_that_sends_nothing_is_not_waited_for_forever(pieces: Sequence[object], message: str) -> None:
    """As long as a server is; what it holds is closed."""
    guarded = Guarded(Own(*pieces), "mine")
    limit([guarded, None], first_text_s=0.05, between_texts_s=0.06)
    async with asyncio.timeout(5):
        with pytest.raises(ModelError) as raised:
            await pieces_of(guarded)
    assert message in str(raised.value)


async def test_the_settings_say_how_long_a_backend_of_ones_own_is_waited_for(
    write: Callable[[str, str], None], docs: Path
) -> None:
    """In the chat."""
    write("mine", "from tests.test_custom_backend import Own\nfrom rag.backends.base import Opened\n\n"
          "def make():\n    return Own(Opened(), 60.0)\n")  # fmt: skip
    assistant = build_assistant(Settings(docs_dir=docs, slm_backend="mine:make", by_meaning=False, first_text_s=0.1))
    await assistant.start()
    try:
        async with asyncio.timeout(20):
            answer = (await events_of(assistant.ask(QUESTION)))[-1].answer
    finally:
        await assistant.stop()
    assert answer.route == "quoted"
    assert "sent no text for 0.1 s" in answer.reason

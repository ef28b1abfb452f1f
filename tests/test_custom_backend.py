"""A backend of the user's own, by its name in the settings."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.custom_backend import Program
from rag.assistant import build_assistant
from rag.backends.choose import choose_models
from rag.backends.custom import Guarded, load_backend
from rag.check import look_at
from rag.errors import ModelUnavailable, SettingsError
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
        pytest.param("yield 'hello'", "it gave str, not Opened, Text or Done", id="another thing"),
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

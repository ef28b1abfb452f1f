"""A backend of the user's own: `module:factory`, a name that Python can import from the working folder."""

from __future__ import annotations

import asyncio
import difflib
import importlib
import inspect
import logging
import os
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any, cast

from rag.backends.base import Backend, Done, Opened, Piece, Reasoning, Text, Usage
from rag.errors import ModelBroke, ModelError, ModelUnavailable, RagError
from rag.prompts import Message

log = logging.getLogger(__name__)

_HOW = "docs/models.md shows how one is written."
# What only some backends have, and who asks does without.
_PASSED_ON = ("is_ours", "loading", "alias")


def load_backend(name: str, *, setting: str) -> Backend:
    """
    Import a module, call its factory without arguments and look at what it made. May take long: call it in a thread.

    Args:
        name: `module:factory`; the module is looked for in the working folder first.
        setting: where the name comes from, for messages.

    Raises:
        ModelUnavailable: there is no such module or factory, one of them failed, or it made no backend.
    """
    module_name, _, factory_name = name.partition(":")
    module = _imported(module_name, setting)
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        near = difflib.get_close_matches(factory_name, [one for one in vars(module) if not one.startswith("_")], n=1)
        hint = f"Did you mean {near[0]}?" if near else _HOW
        raise ModelUnavailable(f"{setting}: {module_name} has no factory {factory_name}. {hint}")
    try:
        made = factory()
    except RagError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelUnavailable(f"{setting}: {name} failed ({_said(error)}). Mend it, or unset {setting}.") from error
    if faults := _faults(made):
        raise ModelUnavailable(f"{setting}: {name} made no backend, as {faults[0]}. {_HOW}")
    return Guarded(cast(Backend, made), f"{setting}: {name}")


class Guarded:
    """
    A backend of the user's own, whose every failure is a `ModelError`, also where its author has not thought of one.

    It has `is_ours`, `loading` and `alias` where the backend has them.

    Args:
        backend: what it stands in front of.
        name: what to call it in messages.

    Attributes:
        first_text_s: how long it may take from the request to the first text, in seconds; loading is not counted.
        between_texts_s: how long it may take from one text to the next, in seconds.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.inner = backend
        self.first_text_s = 120.0
        self.between_texts_s = 15.0
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name not in _PASSED_ON:
            raise AttributeError(name)
        try:
            return getattr(self.inner, name)
        except Exception as error:
            raise AttributeError(name) from error

    @property
    def label(self) -> str:
        """The model's name."""
        return self._text("label")

    @property
    def where(self) -> str:
        """Where it runs."""
        return self._text("where")

    @property
    def ready(self) -> bool:
        """Whether it can answer at once."""
        try:
            return bool(self.inner.ready)
        except Exception:
            return False

    def _text(self, name: str) -> str:
        try:
            return str(getattr(self.inner, name))
        except Exception:  # it could tell when it was made
            return self._name

    async def start(self) -> None:
        """Make it ready. Raises `ModelError`."""
        try:
            await self.inner.start()
        except ModelError:
            raise
        except (Exception, SystemExit) as error:
            raise ModelUnavailable(f"{self._name} cannot start ({_said(error)}). Mend it.") from error

    async def stop(self) -> None:
        """Free what it holds; a fault there goes to the log, and keeps nobody else from being stopped."""
        try:
            await self.inner.stop()
        except (Exception, SystemExit) as error:
            log.warning("%s did not stop (%s)", self._name, _said(error))

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """Generate an answer, as the protocol says."""
        if not self.ready:
            await self.start()
        clock, wait_s, setting = asyncio.get_running_loop().time, self.first_text_s, "FIRST_TEXT_S"
        try:
            stream = self.inner.stream(messages, max_tokens=max_tokens, temperature=temperature)
            async with aclosing(stream) as pieces:
                until = clock() + wait_s
                while True:
                    try:
                        async with asyncio.timeout_at(until) as waiting:
                            piece = await anext(pieces)
                    except StopAsyncIteration:
                        return
                    except TimeoutError as error:
                        if not waiting.expired():
                            raise
                        raise ModelBroke(
                            f"{self._name} sent no text for {wait_s:g} s. Mend it, or raise RAG_{setting}."
                        ) from error
                    if fault := _fault_of(piece):
                        raise TypeError(fault)
                    yield piece
                    if not isinstance(piece, Opened):  # which is no text
                        wait_s, setting = self.between_texts_s, "BETWEEN_TEXTS_S"
                        until = clock() + wait_s
        except ModelError:
            raise
        except (Exception, SystemExit) as error:
            log.info("%s failed", self._name, exc_info=True)  # the chat's log has it; a terminal only the sentence
            raise ModelBroke(
                f"{self._name} failed ({_said(error)}). Mend it; the log of the chat has the details."
            ) from error


def limit(backends: Iterable[Backend | None], *, first_text_s: float, between_texts_s: float) -> None:
    """Let those that are of the user's own wait for text as long as servers may."""
    for one in backends:
        if isinstance(one, Guarded):
            one.first_text_s, one.between_texts_s = first_text_s, between_texts_s


def _fault_of(piece: object) -> str:
    """What is wrong with a piece, in words; empty if nothing is."""
    match piece:
        case Opened() | Text(text=str()) | Reasoning(text=str()) | Done(finish=str(), model=str(), usage=None):
            fault = ""
        case Text() | Reasoning():
            fault = f"the text of its {type(piece).__name__} is {type(piece.text).__name__}, not str"
        case Done(finish=str(), model=str(), usage=Usage() as usage):
            counts = (usage.prompt, usage.completion, usage.reasoning or 0)
            whole = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in counts)
            fault = "" if whole else f"the tokens of its Done are {usage!r}, not whole numbers from 0"
        case Done():
            fault = f"its {piece!r} must have a finish and a model, both str, and a Usage or None"
        case _:
            fault = f"it gave {type(piece).__name__}, not Opened, Text, Reasoning or Done"
    if isinstance(piece, Text) and not fault and piece.logprobs is not None:
        known = isinstance(piece.logprobs, Sequence) and all(isinstance(one, float | int) for one in piece.logprobs)
        fault = "" if known else f"the logprobs of its Text are {piece.logprobs!r}, not numbers"
    return fault


def _imported(name: str, setting: str) -> Any:
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ModelUnavailable(
                f"{setting}: there is no module {name} in {folder}. Check the name: a.b means the file a/b.py."
            ) from error
        raise ModelUnavailable(f"{setting}: {name} cannot be imported ({_said(error)}). Install it.") from error
    except (Exception, SystemExit) as error:
        raise ModelUnavailable(f"{setting}: {name} cannot be imported ({_said(error)}). Mend it.") from error


def _faults(made: object) -> list[str]:
    """What keeps an object from being a backend, in words that go on after 'as'."""
    lacking = []
    for one in ("label", "where", "ready", "start", "stop", "stream"):
        try:
            getattr(made, one)
        except AttributeError:
            lacking.append(one)
        except (Exception, SystemExit) as error:
            return [f"its {one} cannot be read ({_said(error)})"]
    if lacking:
        return [f"what it made ({type(made).__name__}) lacks {', '.join(lacking)}"]
    faults = [
        f"its {one} must be a text that is not empty"
        for one in ("label", "where")
        if not isinstance(getattr(made, one), str) or not getattr(made, one)
    ]
    faults += [
        f"its {one} must be an async function"
        for one in ("start", "stop")
        if not inspect.iscoroutinefunction(getattr(made, one))
    ]
    stream = getattr(made, "stream", None)
    if not callable(stream) or inspect.iscoroutinefunction(stream):
        faults.append("its stream must be an async generator: an async function with yield in it")
    return faults


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

"""A backend of the user's own: `module:factory`, a name that Python can import from the working folder."""

from __future__ import annotations

import difflib
import importlib
import inspect
import logging
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

from rag.backends.base import Backend, Done, Opened, Piece, Text
from rag.errors import ModelBroke, ModelError, ModelUnavailable, RagError
from rag.prompts import Message

log = logging.getLogger(__name__)

_HOW = "docs/models.md shows how one is written."


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

    Args:
        backend: what it stands in front of.
        name: what to call it in messages.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self.inner = backend
        self._name = name

    @property
    def label(self) -> str:
        """The model's name."""
        return self.inner.label

    @property
    def where(self) -> str:
        """Where it runs."""
        return self.inner.where

    @property
    def ready(self) -> bool:
        """Whether it can answer at once."""
        return self.inner.ready

    async def start(self) -> None:
        """Make it ready. Raises `ModelError`."""
        try:
            await self.inner.start()
        except ModelError:
            raise
        except Exception as error:
            raise ModelUnavailable(f"{self._name} cannot start ({_said(error)}). Mend it.") from error

    async def stop(self) -> None:
        """Free what it holds; a fault there goes to the log, and keeps nobody else from being stopped."""
        try:
            await self.inner.stop()
        except Exception as error:
            log.warning("%s did not stop (%s)", self._name, _said(error))

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """Generate an answer, as the protocol says."""
        try:
            stream = self.inner.stream(messages, max_tokens=max_tokens, temperature=temperature)
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    if not isinstance(piece, Opened | Text | Done):
                        raise TypeError(f"it gave {type(piece).__name__}, not Opened, Text or Done")
                    yield piece
        except ModelError:
            raise
        except Exception as error:
            log.info("%s failed", self._name, exc_info=True)  # the chat's log has it; a terminal only the sentence
            raise ModelBroke(
                f"{self._name} failed ({_said(error)}). Mend it; the log of the chat has the details."
            ) from error


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
    lacking = [one for one in ("label", "where", "ready", "start", "stop", "stream") if not hasattr(made, one)]
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

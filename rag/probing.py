"""What one model can do: asked for a few tokens, and its server for what it lists and has loaded."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from rag.backends.base import Backend, Done, Reasoning, Text, Usage
from rag.backends.endpoint import fault_of, loaded_models
from rag.backends.foundry_local import FoundryLocal
from rag.errors import ModelError, ModelRefused
from rag.prompts import GREETING

# Streaming cannot be seen in one token.
_TOKENS = 4
_MOST_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """
    One thing that was looked at.

    Attributes:
        name: what it is.
        state: `ok`, `missing` (works without) or `fault`.
        text: what was found; for a fault, also what to do about it.
        details: the same in figures, for programs.
    """

    name: str
    state: str
    text: str
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


@runtime_checkable
class Serves(Protocol):
    """A backend behind an address."""

    @property
    def url(self) -> str: ...

    async def list_models(self) -> list[str]: ...


@dataclass(frozen=True)
class Sample:
    """
    What came of a greeting.

    Attributes:
        ttft_s: seconds until the first text; None if none came.
        thought_s: seconds until the first piece of reasoning; None if none came.
        pieces: how many texts came.
        thoughts: how many pieces of reasoning came.
        logprobs: whether they had log-probabilities.
        usage: the tokens, if the server counted them.
        model: as the server reported it.
    """

    ttft_s: float | None
    thought_s: float | None
    pieces: int
    thoughts: int
    logprobs: bool
    usage: Usage | None
    model: str

    @property
    def streams(self) -> bool | None:
        """Whether texts and reasoning came piece by piece; None where there was too little to tell."""
        if self.pieces + self.thoughts > 1:
            return True
        return False if self.usage and self.usage.completion > 2 else None


async def look_at_model(
    role: str, backend: Backend, *, wanted: str, limit_s: float | None = None, busy: bool = False, loads: bool = True
) -> Finding:
    """
    Ask a model's server what it lists, and the model for a few tokens.

    Args:
        role: `SLM` or `LLM`.
        backend: started, or not to be had.
        wanted: the model's name in the settings.
        limit_s: how long all of this may take, in seconds; None: as long as an answer may. With a limit nothing is
            loaded for it.
        loads: whether a model may be loaded for it where there is no limit.
        busy: whether answers are being written, which would excuse a slow one.
    """
    try:
        async with asyncio.timeout(limit_s):
            return await _look(role, backend, wanted, loads=loads and limit_s is None)
    except TimeoutError:
        text = f"{_named(backend)} sent nothing within {limit_s:g} s"
        if busy:
            return Finding(role, "missing", f"{text}: it is writing an answer. Check again when it is done.")
        return Finding(role, "fault", f"{text}. It may be loading its model: look at its log, and check again.")


async def _look(role: str, backend: Backend, wanted: str, *, loads: bool) -> Finding:
    details: dict[str, Any] = {"model": backend.label, "where": backend.where}
    listed: list[str] | None = None
    unlisted: ModelError | None = None
    loaded: list[str] | None = None
    if isinstance(backend, Serves):
        listed, unlisted = await _listed(backend)
        if listed:
            loaded = await _loaded(backend)
        details |= {"models": listed, "wanted": wanted, "loaded": loaded}
        details["listed"] = None if listed is None else backend.label in listed
    in_memory = backend.ready if not isinstance(backend, Serves) else None if loaded is None else _in(backend, loaded)
    details["in_memory"] = in_memory
    if in_memory is False and not loads:
        text = f"{_named(backend)}, not loaded; the first question loads it{_told(listed, loaded)}"
        return Finding(role, "ok", text, details)
    try:
        sample = await _sample(backend)
    except ModelError as error:
        return Finding(role, "fault", await _fault(role, backend, error, listed, unlisted, wanted), details)
    details |= {
        "ttft_ms": None if sample.ttft_s is None else round(sample.ttft_s * 1000, 1),
        "streams": sample.streams,
        "usage": sample.usage.to_json() if sample.usage else None,
        "logprobs": sample.logprobs,
    }
    first = _first(sample)
    if first is None:
        return Finding(role, "fault", f"{_named(backend)} sent no text to a greeting.", details)
    streaming = {True: "streams", False: "sends all at once, not streamed", None: ""}[sample.streams]
    can = [
        first,
        streaming,
        "counts its tokens" if sample.usage else "does not count its tokens",
        _about_logprobs(sample),
    ]
    return Finding(role, "ok", f"{_named(backend)}: {', '.join(filter(None, can))}{_told(listed, loaded)}", details)


async def _listed(backend: Serves) -> tuple[list[str] | None, ModelError | None]:
    try:
        return await backend.list_models(), None
    except ModelError as error:
        return None, error


async def _loaded(backend: Serves) -> list[str] | None:
    if isinstance(backend, FoundryLocal):
        return await backend.loaded_models()
    return await loaded_models(backend.url)


async def _sample(backend: Backend) -> Sample:
    asked = time.perf_counter()
    first: float | None = None
    thought: float | None = None
    pieces, thoughts, logprobs, usage, model = 0, 0, False, None, backend.label
    stream = backend.stream(GREETING, max_tokens=_TOKENS, temperature=0.0)
    async with aclosing(stream) as answer:
        async for piece in answer:
            match piece:
                case Reasoning():
                    thought = thought or time.perf_counter() - asked
                    thoughts += 1
                case Text():
                    first = first or time.perf_counter() - asked
                    logprobs = logprobs or piece.logprobs is not None
                    pieces += 1
                case Done():
                    usage, model = piece.usage, piece.model
    return Sample(first, thought, pieces, thoughts, logprobs, usage, model)


def _first(sample: Sample) -> str | None:
    if sample.ttft_s is not None:
        return f"first text after {sample.ttft_s * 1000:.0f} ms"
    return None if sample.thought_s is None else f"first thought after {sample.thought_s * 1000:.0f} ms"


async def _fault(
    role: str,
    backend: Backend,
    error: ModelError,
    listed: list[str] | None,
    unlisted: ModelError | None,
    wanted: str,
) -> str:
    """What an error means, with what its address and its list say of it."""
    if isinstance(error, ModelRefused) and error.status == 404 and listed:
        near = difflib.get_close_matches(wanted.casefold(), {one.casefold(): one for one in listed}, n=1, cutoff=0.5)
        named = next((one for one in listed if near and one.casefold() == near[0]), "")
        hint = f" Did you mean {named}?" if named else ""
        return f"{error} It lists {_names(listed)}.{hint}"
    if not isinstance(backend, Serves) or isinstance(backend, FoundryLocal) or (listed and unlisted is None):
        return str(error)
    if isinstance(error, ModelRefused) and error.status in (401, 403, 429):
        return str(error)
    return await fault_of(backend.url, role=role) or str(error)


def _about_logprobs(sample: Sample) -> str:
    if sample.logprobs:
        return "gives log-probabilities"
    return "gives no log-probabilities (null)" if sample.pieces else "reasons at first"


def _in(backend: Backend, loaded: Sequence[str]) -> bool:
    return any(backend.label.casefold() == one.casefold() for one in loaded)


def _told(listed: Sequence[str] | None, loaded: Sequence[str] | None) -> str:
    told = f". Its server lists {_names(listed)}" if listed else ""
    if loaded is not None:
        told += f"; loaded: {', '.join(loaded[:_MOST_NAMED]) or 'none'}"
    return told


def _names(models: Sequence[str]) -> str:
    more = f" and {len(models) - _MOST_NAMED} more" if len(models) > _MOST_NAMED else ""
    return f"{len(models)} model{'s' * (len(models) != 1)}: {', '.join(models[:_MOST_NAMED])}{more}"


def _named(backend: Backend) -> str:
    return f"{backend.label} on {backend.where}"

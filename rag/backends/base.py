"""The protocol that every backend follows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from rag.prompts import Message


@dataclass(frozen=True)
class Usage:
    """
    Tokens as the server counted them.

    Attributes:
        prompt: of what the model read.
        completion: of what it wrote, its reasoning included.
        reasoning: how many of these were reasoning; None if the server did not say.
    """

    prompt: int
    completion: int
    reasoning: int | None = None

    def to_json(self) -> dict[str, int]:
        """Both, and the reasoning where there was some."""
        reasoning = {"reasoning": self.reasoning} if self.reasoning else {}
        return {"prompt": self.prompt, "completion": self.completion, **reasoning}


@dataclass(frozen=True)
class Opened:
    """The server took the request; the first text is yet to come."""


@dataclass(frozen=True)
class Text:
    """
    A piece of the answer.

    Attributes:
        text: never empty.
        logprobs: the natural logarithm of each of its tokens' probability; None where the server gives none.
        tops: for each of its tokens those of the likeliest tokens in its place, highest first; None likewise.
    """

    text: str
    logprobs: tuple[float, ...] | None = None
    tops: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True)
class Reasoning:
    """
    A piece of what the model thinks before it answers. It is never a part of the answer.

    Attributes:
        text: never empty.
    """

    text: str


@dataclass(frozen=True)
class Done:
    """
    The answer is whole.

    Attributes:
        finish: why the model stopped, in the server's word: `stop`, or `length` when it was cut at the limit.
        model: the name that the server reported, or our own label if it reported none.
        usage: None if the server did not say.
    """

    finish: str
    model: str
    usage: Usage | None = None


Piece = Opened | Text | Reasoning | Done


class Backend(Protocol):
    """
    Something that answers messages.

    Attributes:
        label: the model's name until the server reports its own.
        where: where it runs, in words that fit behind 'model at'.
        ready: whether it can answer at once; if not, `start` (or the first `stream`) loads it.
    """

    @property
    def label(self) -> str: ...

    @property
    def where(self) -> str: ...

    @property
    def ready(self) -> bool: ...

    async def start(self) -> None:
        """Make it ready. Called again, it does nothing. Raises `ModelError`."""

    async def stop(self) -> None:
        """Free everything it holds. It may be started again."""

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """
        Generate an answer: `Opened`, then `Text`s, and `Reasoning`s wherever the model thinks, then exactly one `Done`.

        Closing the generator stops the work on the server. Any failure is a `ModelError`, also in the middle.
        """


def is_ours(backend: Backend) -> bool:
    """Whether a backend runs on this machine, so that its tokens cost nothing; one that does not say so does."""
    return bool(getattr(backend, "is_ours", True))


def loading_text(backend: Backend) -> str:
    """What is being done to make a backend ready, in words: its own `loading`, if it has one."""
    return getattr(backend, "loading", "") or f"Loading {backend.label} …"

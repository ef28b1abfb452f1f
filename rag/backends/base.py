"""The protocol that every backend follows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from rag.prompts import Message


@dataclass(frozen=True)
class Usage:
    """Tokens as the server counted them."""

    prompt: int
    completion: int


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


Piece = Opened | Text | Done


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
        Generate an answer: `Opened`, then `Text`s, then exactly one `Done`.

        Closing the generator stops the work on the server. Any failure is a `ModelError`, also in the middle.
        """

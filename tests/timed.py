"""A backend by whose own clock its answers come, so that figures of time can be told exactly."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from rag.backends.base import Piece
from rag.prompts import Message

#: A piece, and how many seconds after the request it comes.
At = tuple[float, Piece]


class Timed:
    """Plays its answers in turn; the last one again and again."""

    label = "timed"
    where = "a test"

    def __init__(self, *answers: Sequence[At], ready: bool = True) -> None:
        self.ready = ready
        self.starts = 0
        self._now = 100.0
        self._answers = answers
        self._asked = 0

    def clock(self) -> float:
        """The seconds of the last piece."""
        return self._now

    async def start(self) -> None:
        """Count it."""
        self.starts += 1
        self.ready = True

    async def stop(self) -> None:
        """Nothing to free."""

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of the next answer, each at its time after the request."""
        began = self._now
        self._asked += 1
        for after, piece in self._answers[min(self._asked, len(self._answers)) - 1]:
            self._now = began + after
            yield piece

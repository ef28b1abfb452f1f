"""One timed call of a model: its text, and how fast it came."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from rag.backends.base import Backend, Done, Reasoning, Text, Usage
from rag.errors import ModelBroke
from rag.prompts import GREETING, Message

_GREETING_TOKENS = 8


@dataclass(frozen=True)
class Call:
    """
    A whole answer and its times, all of the same call.

    Attributes:
        text: what the model said.
        ttft_s: from the request being sent to the first text, in seconds.
        total_s: from the request being sent to the end of the answer, in seconds.
        writing_s: from the first text to the last, in seconds; 0 if all came at once.
        usage: tokens as the server counted them; None if it did not say.
        pieces: how many pieces the text came in, of which a server sends one a token; or its tokens, where it tells.
        thoughts: how many pieces the reasoning came in.
        finish: why the model stopped, in the server's word.
        model: the name that the server reported.
    """

    text: str
    ttft_s: float
    total_s: float
    writing_s: float
    usage: Usage | None
    pieces: int
    finish: str
    model: str
    thoughts: int = 0

    @property
    def tokens(self) -> int:
        """The tokens of the answer, without its reasoning, as the server counted them, else its pieces."""
        counted = self._counted_by_server
        return self.pieces if counted is None else counted

    @property
    def counted(self) -> str:
        """Who counted the answer's tokens: `server`, or `pieces` if it is we who counted these."""
        return "pieces" if self._counted_by_server is None else "server"

    @property
    def completion(self) -> int:
        """The tokens of answer and reasoning, which a cloud bills, as the server counted them, else the pieces."""
        return self.usage.completion if self.usage else self.pieces + self.thoughts

    @property
    def reasoning(self) -> int:
        """How many of the `completion` were reasoning, as the server counted them, else its pieces; 0 if none was."""
        return (self.usage.reasoning if self.usage else None) or self.thoughts

    @property
    def _counted_by_server(self) -> int | None:
        if self.usage is None or (self.thoughts and not self.usage.reasoning):  # all in one, the reasoning too
            return None
        left = self.usage.completion - (self.usage.reasoning or 0)
        return left if left > 0 else None  # an answer there is

    @property
    def tokens_per_s(self) -> float | None:
        """The answer's tokens for each second of the whole call; the prompt's do not count."""
        return self.tokens / self.total_s if self.total_s > 0 else None

    @property
    def decode_per_s(self) -> float | None:
        """
        The tokens after the first for each second after the first text; None if all came at once.

        >>> Call("a b c", 0.5, 1.6, 1.0, Usage(9, 3), 3, "stop", "m").decode_per_s
        2.0
        """
        return (self.tokens - 1) / self.writing_s if self.writing_s > 0 and self.tokens > 1 else None

    @property
    def workshop_tokens_per_s(self) -> float | None:
        """The workshop's figure, which counts the prompt's tokens as if they had been written; None if unknown."""
        if self.usage is None or self.total_s <= 0:
            return None
        return (self.usage.prompt + self.usage.completion) / self.total_s


async def timed_call(
    backend: Backend,
    messages: Sequence[Message],
    *,
    max_tokens: int,
    temperature: float,
    limited_by: str = "",
    show: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Call:
    """
    Ask a model once and take the time.

    Args:
        backend: the model; what it takes to load it counts, so `start` it before.
        messages: the prompt.
        max_tokens, temperature: as for the backend.
        limited_by: the setting or option that says `max_tokens`, for messages.
        show: is given each piece of the answer as it comes.
        clock: seconds, from anywhere.

    Raises:
        ModelError: the model failed, or its answer is empty.
    """
    said: list[str] = []
    pieces = thoughts = 0
    asked = clock()
    first = last = asked
    done: Done | None = None
    stream = backend.stream(messages, max_tokens=max_tokens, temperature=temperature)
    async with aclosing(stream) as coming:
        async for piece in coming:
            match piece:
                case Text(text=text, logprobs=logprobs):
                    last = clock()
                    first = last if not said else first
                    said.append(text)
                    pieces += len(logprobs or (0,))
                    if show:
                        show(text)
                case Reasoning():
                    thoughts += 1
                case Done():
                    done = piece
    ended = clock()
    text = "".join(said)
    if done is None or not text.strip():
        more = f"raise {limited_by}" if limited_by else "allow it more"
        remedy = f"It used up its {max_tokens} tokens: {more}." if done and done.finish == "length" else ""
        raise ModelBroke(f"{backend.label} gave an empty answer. {remedy or 'Ask again, or look at its log.'}")
    return Call(text, first - asked, ended - asked, last - first, done.usage, pieces, done.finish, done.model, thoughts)


async def warm_up(backend: Backend) -> None:
    """
    Load a model, and let it answer something else than what is measured, which a server would remember.

    Raises:
        ModelError: it cannot be loaded, or fails.
    """
    if not backend.ready:
        await backend.start()
    async with aclosing(backend.stream(GREETING, max_tokens=_GREETING_TOKENS, temperature=0.0)) as pieces:
        async for _ in pieces:
            pass

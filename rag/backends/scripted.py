"""A backend that plays given answers, for tests and for demonstrations without a model. It says so in its name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from rag.backends.base import Done, Opened, Piece, Reasoning, Text, Usage
from rag.errors import ModelError
from rag.prompts import Message

_BEHIND = 5.0


@dataclass(frozen=True)
class Script:
    """
    One answer to play.

    Attributes:
        text: what it says, in pieces of one word.
        logprob: the log-probability of every token, whose one rival is far behind; None: the server gives none.
        finish: the finish reason.
        error: raised after `error_after` pieces instead of finishing.
        error_after: how many pieces come before the error.
        pace_s: the pause before each piece, in seconds.
        reasoning: what it thinks first, in pieces of one word.
    """

    text: str
    logprob: float | None = None
    finish: str = "stop"
    error: ModelError | None = None
    error_after: int = 0
    pace_s: float = 0.0
    reasoning: str = ""


class ScriptedBackend:
    """
    Plays its scripts in turn; the last one again and again.

    Attributes:
        requests: the messages it was sent, oldest first.
        open: how many answers are being generated at this moment.
    """

    def __init__(self, *scripts: Script | str, label: str = "scripted stand-in") -> None:
        self.label = label
        self.where = "a script"
        self.ready = True
        self.requests: list[list[Message]] = []
        self.open = 0
        self._scripts = [Script(one) if isinstance(one, str) else one for one in scripts]

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to free."""

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """Play the next script."""
        script = self._scripts[min(len(self.requests), len(self._scripts) - 1)]
        self.requests.append(list(messages))
        sure = script.logprob
        likelihoods = (None, None) if sure is None else ((sure,), ((sure, sure - _BEHIND),))
        pieces, thoughts = _in_words(script.text), _in_words(script.reasoning) if script.reasoning else []
        self.open += 1
        try:
            if script.error and not script.error_after:
                raise script.error
            yield Opened()
            for thought in thoughts:
                await asyncio.sleep(script.pace_s)
                yield Reasoning(thought)
            for number, piece in enumerate(pieces if script.text else []):
                if script.error and number >= script.error_after:
                    raise script.error
                await asyncio.sleep(script.pace_s)
                yield Text(piece, *likelihoods)
            if script.error:
                raise script.error
            read = sum(len(message["content"].split()) for message in messages)
            yield Done(
                script.finish, self.label, Usage(read, len(pieces) + len(thoughts), len(thoughts) if thoughts else None)
            )
        finally:
            self.open -= 1


def _in_words(text: str) -> list[str]:
    return [word if number == 0 else f" {word}" for number, word in enumerate(text.split(" "))]

"""One browser session: its earlier turns, its running answer, and what happens when its connection goes and comes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import chainlit as cl
from chainlit.session import WebsocketSession

from rag.prompts import Turn
from ui.reply import Reply

_tasks: set[asyncio.Task[None]] = set()


@dataclass
class Conversation:
    """The questions of a conversation by the id of their message, in order; unanswered ones without a turn."""

    _turns: dict[str, Turn | None] = field(default_factory=dict)

    def before(self, message_id: str) -> list[Turn]:
        """The answered turns before a question. An edited question takes its place again: what came after is gone."""
        if message_id in self._turns:
            ids = list(self._turns)
            for later in ids[ids.index(message_id) :]:
                del self._turns[later]
        earlier = [turn for turn in self._turns.values() if turn]
        self._turns[message_id] = None
        return earlier

    def add(self, message_id: str, turn: Turn) -> None:
        """Remember the answer to a question."""
        self._turns[message_id] = turn


@dataclass
class Desk:
    """
    What a session is working on.

    Attributes:
        conversation: its turns.
        task: the handler that writes the current answer; Chainlit forgets it after an edit or a reconnection.
        reply: the last answer on the page, whole or growing.
    """

    conversation: Conversation = field(default_factory=Conversation)
    task: asyncio.Task[Any] | None = None
    reply: Reply | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is being written."""
        return self.task is not None and not self.task.done()

    def stop(self) -> None:
        """End the answer that is being written."""
        if self.task is not None:
            self.task.cancel()


def desk() -> Desk:
    """The desk of the current session."""
    known = cl.user_session.get("desk")
    if isinstance(known, Desk):
        return known
    new = Desk()
    cl.user_session.set("desk", new)
    return new


def own_task() -> None:
    """Make the running handler the one that Stop ends. One answer a session: an older one is ended first."""
    mine = desk()
    mine.stop()
    mine.task = asyncio.current_task()


def close_later(seconds: float) -> None:
    """
    The page is gone: end its answer after some grace, unless it comes back.

    'New chat' ends it at once.
    """
    session, mine = cl.context.session, desk()
    if not isinstance(session, WebsocketSession) or not mine.busy:
        return
    socket_id = session.socket_id

    async def close() -> None:
        if not session.to_clear:
            await asyncio.sleep(seconds)
        if session.socket_id == socket_id:
            mine.stop()

    _keep(asyncio.create_task(close()))


def do_meanwhile(work: Coroutine[Any, Any, None]) -> None:
    """Do something for this session without keeping its page waiting."""
    _keep(asyncio.create_task(work))


async def end_tasks() -> None:
    """Cancel what was left waiting; for the end of the process."""
    for task in list(_tasks):
        task.cancel()
    await asyncio.gather(*_tasks, return_exceptions=True)


def _keep(task: asyncio.Task[None]) -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)

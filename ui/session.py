"""One browser session: its earlier turns, its running answer, and what happens when its tab closes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import chainlit as cl
from chainlit.session import WebsocketSession

from rag.prompts import Turn

_tasks: set[asyncio.Task[None]] = set()


@dataclass
class Conversation:
    """The turns of a conversation, by the id of the question's message."""

    _turns: dict[str, Turn] = field(default_factory=dict)

    def before(self, message_id: str) -> list[Turn]:
        """The turns before a question. An edited question takes its place again: what came after it is gone."""
        if message_id in self._turns:
            ids = list(self._turns)
            for later in ids[ids.index(message_id) :]:
                del self._turns[later]
        return list(self._turns.values())

    def add(self, message_id: str, turn: Turn) -> None:
        """Remember an answered question."""
        self._turns[message_id] = turn


def conversation() -> Conversation:
    """The conversation of the current session."""
    known = cl.user_session.get("conversation")
    if isinstance(known, Conversation):
        return known
    new = Conversation()
    cl.user_session.set("conversation", new)
    return new


def own_task() -> None:
    """Make the running handler the one that Stop cancels; Chainlit forgets to after an edit."""
    cl.context.session.current_task = asyncio.current_task()


def close_later(seconds: float) -> None:
    """
    The page is gone: end its answer after some grace, unless it comes back.

    'New chat' ends it at once.
    """
    session = cl.context.session
    if not isinstance(session, WebsocketSession):
        return
    task = session.current_task
    if task is None or task.done():
        return
    socket_id = session.socket_id

    async def close() -> None:
        if not session.to_clear:
            await asyncio.sleep(seconds)
        if session.socket_id == socket_id and not task.done():
            task.cancel()

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

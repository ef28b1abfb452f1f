"""One browser session: its earlier turns, its running answer, and what happens when its connection goes and comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import chainlit as cl
from chainlit.session import WebsocketSession, ws_sessions_id
from chainlit.user_session import user_sessions

from rag.documents import Document
from rag.prompts import Turn
from rag.rules import Ledger
from ui.feedback import Said
from ui.reply import Reply, resend

# Of so many answers the sources are watched.
_WATCHED = 20
# How long the end of a conversation waits for its answer to end, in seconds.
_END_S = 5.0

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
        replies: the last answers on the page, oldest first; the newest may still be growing.
        uploads: the conversation's own documents.
        notes: the messages besides answers that were sent since the last question.
        escalations: of this chat, for the rules that limit them.
        said: the answers that can be marked as wrong, by the id of their message.
    """

    conversation: Conversation = field(default_factory=Conversation)
    task: asyncio.Task[Any] | None = None
    replies: deque[Reply] = field(default_factory=lambda: deque(maxlen=_WATCHED))
    uploads: list[Document] = field(default_factory=list)
    notes: list[cl.Message] = field(default_factory=list)
    escalations: Ledger = field(default_factory=Ledger)
    said: dict[str, Said] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Whether an answer is being written."""
        return self.task is not None and not self.task.done()

    def stop(self) -> None:
        """End the answer that is being written."""
        if self.task is not None:
            self.task.cancel()

    async def resend(self) -> None:
        """Send again what may have been lost with the connection."""
        for note in self.notes:
            await resend(note, note.elements)
        for reply in self.replies:
            if reply is self.replies[-1]:
                await reply.resend()
            else:
                await reply.resend_marks()


def desk() -> Desk:
    """The desk of the current session."""
    known = cl.user_session.get("desk")
    if isinstance(known, Desk):
        return known
    new = Desk()
    cl.user_session.set("desk", new)
    return new


def all_desks() -> list[tuple[WebsocketSession, Desk]]:
    """The sessions that are there, also those whose page is away for a while, with their desks."""
    return [
        (session, user_sessions.get(session.id, {}).get("desk") or Desk()) for session in list(ws_sessions_id.values())
    ]


def own_task() -> Desk:
    """
    Make the running handler the one that Stop ends, and take a place at the desk.

    One answer a session: an older one is ended first.
    """
    mine = desk()
    mine.stop()
    mine.task = asyncio.current_task()
    mine.notes.clear()
    return mine


async def close(seconds: float) -> None:
    """
    The page is gone: end its answer after some grace, unless it comes back.

    'New chat' ends it now, so that nothing is written for a conversation that is forgotten.
    """
    session, mine = cl.context.session, desk()
    if not isinstance(session, WebsocketSession) or mine.task is None or not mine.busy:
        return
    if session.to_clear:
        mine.stop()
        await asyncio.wait([mine.task], timeout=_END_S)
        return
    socket_id = session.socket_id

    async def close_later() -> None:
        await asyncio.sleep(seconds)
        if session.socket_id == socket_id:
            mine.stop()

    _keep(asyncio.create_task(close_later()))


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

"""Chainlit, mended where it loses an answer, or time, or keeps what it was to forget."""

from __future__ import annotations

import asyncio
import shutil
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import chainlit.config
import chainlit.server as server
import chainlit.socket  # registers the handlers that are mended here
from chainlit.chat_context import chat_contexts
from chainlit.context import init_ws_context
from chainlit.element import CustomElement, File
from chainlit.emitter import ChainlitEmitter
from chainlit.message import Message
from chainlit.session import WebsocketSession
from chainlit.user_session import user_sessions
from fastapi import HTTPException

from rag.documents import Document
from rag.evidence import forget_texts
from rag.uploads import MOST_FILES
from ui.session import Desk, desk

# A question of 2 MB must reach us to be refused in words; engine.io's own limit of 1 MB drops the connection.
_LARGEST_PACKET = 16_000_000


def mend_chainlit(*, forget: Callable[[Sequence[Document]], None]) -> None:
    """
    Replace what is at fault; once, before the server starts.

    Args:
        forget: is given a conversation's own documents when it ends.
    """
    _stop_sleeping()
    _mend_sockets()
    _mend_files(forget)


def forget_files() -> None:
    """Delete what a chat that was killed left behind; a chat that ends deletes it itself."""
    for left in chainlit.config.FILES_DIRECTORY.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


def _stop_sleeping() -> None:
    # Each Message and each Step sleeps a millisecond in the event loop, all users waiting: 3 ms before a first word.
    awake = types.SimpleNamespace(sleep=lambda _: None)
    for module in ("chainlit.message", "chainlit.step"):
        vars(sys.modules[module])["time"] = awake


def _mend_sockets() -> None:
    server.sio.eio.max_http_buffer_size = _LARGEST_PACKET
    connected = server.sio.handlers["/"]["connection_successful"]

    async def stop(sid: str) -> None:
        """Without Chainlit's extra message: the answer itself says that it was stopped."""
        session = WebsocketSession.get(sid)
        if session is None:
            return
        init_ws_context(session)
        desk().stop()

    async def connection_successful(sid: str) -> None:
        """After a lost connection: show what was written meanwhile, and the Stop button while it is."""
        await connected(sid)
        session = WebsocketSession.get(sid)
        if session is None or not session.restored:
            return
        context = init_ws_context(session)
        mine = desk()
        await mine.resend()
        if mine.busy:
            await context.emitter.task_start()

    server.sio.on("stop", stop)
    server.sio.on("connection_successful", connection_successful)


def _mend_files(forget: Callable[[Sequence[Document]], None]) -> None:
    process: Any = ChainlitEmitter.process_message
    persist: Any = WebsocketSession.persist_file
    delete: Any = WebsocketSession.delete

    async def process_message(self: ChainlitEmitter, payload: Any) -> Message:
        """Hands over the files that came with a message, and shows no link to them: they are read and deleted."""
        sent = [reference["id"] for reference in payload.get("fileReferences") or []]
        taken = [self.session.files.pop(one) for one in sent if one in self.session.files]
        files: list[Any] = [File(name=file["name"], path=str(file["path"])) for file in taken]
        message: Message = await process(self, {**payload, "fileReferences": None})
        message.elements = files
        return message

    async def persist_file(
        self: WebsocketSession, name: str, mime: str, path: str | None = None, content: bytes | str | None = None
    ) -> Any:
        """Refuses in words what Chainlit takes without end, or fails over; keeps nothing for a session that left."""
        if not path and not content:
            raise HTTPException(400, "it is empty")
        if len(self.files) >= MOST_FILES:
            raise HTTPException(400, f"{MOST_FILES} files are waiting to be sent already")
        reference = await persist(self, name, mime, path, content)
        if WebsocketSession.get_by_id(self.id) is not self:
            await asyncio.to_thread(shutil.rmtree, self.files_dir, ignore_errors=True)
            raise HTTPException(404, "the conversation has ended")
        return reference

    async def create(self: CustomElement, persist: bool = True) -> bool:
        """Writes no file: the page draws the element from its packet, and never asks for one."""
        self.chainlit_key = self.id
        return True

    async def delete_all(self: WebsocketSession) -> None:
        """Forgets the messages too, and what was read for their answers."""
        mine = user_sessions.get(self.id, {}).get("desk")
        await delete(self)
        chat_contexts.pop(self.id, None)
        forget(mine.uploads if isinstance(mine, Desk) else ())
        forget_texts()

    for owner, name, mended in (
        (ChainlitEmitter, "process_message", process_message),
        (WebsocketSession, "persist_file", persist_file),
        (WebsocketSession, "delete", delete_all),
        (CustomElement, "_create", create),
    ):
        setattr(owner, name, mended)

"""Chainlit, mended where it loses an answer, or time."""

from __future__ import annotations

import sys
import types

import chainlit.server as server
import chainlit.socket  # noqa: F401 - registers the handlers that are mended here
from chainlit.context import init_ws_context
from chainlit.session import WebsocketSession

from ui.session import desk

# A question of 2 MB must reach us to be refused in words; engine.io's own limit of 1 MB drops the connection.
_LARGEST_PACKET = 16_000_000


def mend_chainlit() -> None:
    """Replace what is at fault; once, before the server starts."""
    _stop_sleeping()
    _mend_sockets()


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
        if mine.reply:
            await mine.reply.resend()
        if mine.busy:
            await context.emitter.task_start()

    server.sio.on("stop", stop)
    server.sio.on("connection_successful", connection_successful)

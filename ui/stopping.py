"""Stop, without Chainlit's own extra message: the answer itself says that it was stopped."""

from __future__ import annotations

import chainlit.server as server
from chainlit.context import init_ws_context
from chainlit.session import WebsocketSession


def quiet_stop() -> None:
    """Replace Chainlit's handler of the Stop button; once, before the server starts."""
    import chainlit.socket  # noqa: F401 - registers the handler that is replaced here

    async def stop(sid: str) -> None:
        session = WebsocketSession.get(sid)
        if session is None:
            return
        init_ws_context(session)
        if session.current_task:
            session.current_task.cancel()

    server.sio.on("stop", stop)

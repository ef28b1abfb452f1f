"""Open pages follow the documents: a word about each change, and marks on answers that no longer hold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import chainlit.server as server
from chainlit.context import init_ws_context
from chainlit.session import WebsocketSession

from rag.catalogue import Change
from rag.library import Library
from rag.shelf import Shelf
from ui.reply import Reply, Since
from ui.session import all_desks

log = logging.getLogger(__name__)

Place = tuple[str, str]


class Live:
    """
    Tells open pages what changes in a library.

    Args:
        library: is listened to from now on.

    Attributes:
        changes: how many there have been.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._untold: asyncio.Queue[Change] = asyncio.Queue()
        self.changes = 0
        library.listeners.append(self._note)

    async def tell(self) -> None:
        """Tell one change after the other, until cancelled."""
        while True:
            change = await self._untold.get()
            try:
                await self._tell(change)
            except Exception:
                log.exception("a change of the documents could not be told")

    async def look_at(self, reply: Reply) -> None:
        """Mark an answer that was written while documents changed."""
        await reply.mark(await asyncio.to_thread(since, self._library.shelf, reply.cited))

    def _note(self, change: Change) -> None:
        self.changes += 1
        self._untold.put_nowait(change)

    async def _tell(self, change: Change) -> None:
        desks = all_desks()
        for session, _ in desks:
            if server.sio.manager.is_connected(session.socket_id, "/"):
                await init_ws_context(session).emitter.send_toast(change.sentence, type="info")
        touched = {*change.added, *change.changed, *change.removed}  # added: it may have been there before
        places = {place for _, desk in desks for reply in desk.replies for place in reply.cited if place[0] in touched}
        found = await asyncio.to_thread(since, self._library.shelf, places)
        for session, desk in desks if found else []:
            for reply in list(desk.replies):
                if WebsocketSession.get_by_id(session.id) is session:
                    init_ws_context(session)
                    await reply.mark(found)


def since(shelf: Shelf, places: Iterable[Place]) -> dict[Place, Since]:
    """What became of quotations, each a document's name and its words."""
    return {(document, quote): _since(shelf, document, quote) for document, quote in places}


def _since(shelf: Shelf, document: str, quote: str) -> Since:
    if shelf.says(document, quote):
        return None
    entry = shelf.entries.get(document)
    return "changed" if entry is not None and not entry.reason else "removed"

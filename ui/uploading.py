"""Takes in the files that come with a message, and says what became of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import chainlit as cl

from rag.documents import Document
from rag.errors import DocumentsError
from rag.library import Library
from rag.readers.process import Parsers
from rag.shelf import UPLOADED
from rag.uploads import check_room, read_upload, upload_name
from ui.reply import new_error_id
from ui.report import code, plain
from ui.session import Desk

log = logging.getLogger(__name__)

# Each may need a process of its own, with as much memory as the readers allow.
_AT_A_TIME = 2


class Intake:
    """
    Reads files into conversations, a few at a time.

    Args:
        library: what the conversations search besides.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._places = asyncio.Semaphore(_AT_A_TIME)

    async def take(self, message: cl.Message, mine: Desk) -> None:
        """
        Add the files of a message to its conversation; afterwards they are nowhere else, whatever happens.

        Raises:
            asyncio.CancelledError: after Stop; the documents read until then stay.
        """
        sent = [(Path(str(file.path)), file.name) for file in message.elements]
        message.elements = []
        note = cl.Message(content="")
        mine.notes.append(note)
        said: list[str] = []
        try:
            if not message.content.strip():  # or the reader's own message would be an empty bubble
                message.content = ", ".join(upload_name(given).removeprefix(UPLOADED) for _, given in sent)
                await message.update()
            async with self._places:
                with Parsers() as parsers:
                    for path, given in sent:
                        name = upload_name(given, taken=self._taken(mine))
                        await note.stream_token("\n\n".join([*said, f"Reading {_shown(name)} …"]), is_sequence=True)
                        said.append(await self._add(path, name, mine, parsers))
        except asyncio.CancelledError:
            said.append("Stopped.")
            raise
        finally:
            _delete([path for path, _ in sent])
            note.content = "\n\n".join(said)
            await note.send()

    async def _add(self, path: Path, name: str, mine: Desk, parsers: Parsers) -> str:
        try:
            document = await asyncio.to_thread(read_upload, path, name=name, parsers=parsers)
            check_room(document, mine.uploads)
            return await self._join(document, mine)
        except DocumentsError as error:
            return f"{_shown(name)}: {plain(str(error))}"
        except Exception:
            log.exception("error %s: a file that was sent could not be read", error_id := new_error_id())
            return f"{_shown(name)} could not be read. The log of the chat says why.\n\nError id: `{error_id}`"

    async def _join(self, document: Document, mine: Desk) -> str:
        joined = False
        try:
            together = await asyncio.to_thread(self._library.with_uploads, [*mine.uploads, document])
            entry = together.entries[document.name]
            if entry.reason:
                return f"{_shown(document.name)}: {plain(entry.reason)}"
            mine.uploads.append(document)
            joined = True
            return f"{_shown(document.name)} joined this conversation: {entry.fate}"
        finally:
            if not joined:
                self._library.forget([document])

    def _taken(self, mine: Desk) -> set[str]:
        own = {document.name for document in mine.uploads}
        return own.union(name for name in self._library.shelf.entries if name.startswith(UPLOADED))


def _shown(name: str) -> str:
    return code(name.removeprefix(UPLOADED))


def _delete(files: Sequence[Path]) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError:
            log.info("a file that was sent is deleted with its session", exc_info=True)

"""Readers mark answers as wrong: what they say is noted in a file, with what the server knows of the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rag.errors import RagError, SearchError
from rag.events import Answer
from rag.feedback import FeedbackError, Note, alternatives, append, remove
from rag.library import Library
from rag.prompts import Turn
from rag.rules import rounded_down
from rag.shelf import UPLOADED, Shelf
from rag.workbench.questions import has_answer
from ui.reply import new_error_id

log = logging.getLogger(__name__)

# So many answers of a conversation can be marked, the latest ones.
_MOST = 500
# So much of an answer is noted, in characters.
_MOST_ANSWER = 2_000
# So many earlier questions a follow-up is completed from at most; what was asked before them plays no part.
_TURNS = 6


@dataclass
class Said:
    """
    An answer that can be marked as wrong.

    Attributes:
        note: what is known of it without the reader.
        cited: the documents of the folder that it cites.
        noted: what was written of it; None if nothing is.
        lock: held while it is being marked.
    """

    note: Note
    cited: tuple[str, ...]
    noted: Note | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Feedback:
    """
    Takes what readers say of answers.

    Args:
        library: has the documents that may say what is right.
        path: the file that it is noted in; None: nothing is offered and nothing taken.
        turns: how many earlier turns go into a prompt.
    """

    def __init__(self, library: Library, path: Path | None, *, turns: int = 0) -> None:
        self._library = library
        self._path = path
        self._turns = max(turns, _TURNS)

    def offering(
        self, said: dict[str, Said], question: str, history: Sequence[Turn]
    ) -> Callable[[str, Answer], dict[str, Any] | None]:
        """
        Make what remembers the answer to a question, and says what the page needs to have it marked.

        Args:
            said: where it is remembered, by the id of its message.
            question: as it was asked.
            history: the turns before it, oldest first.
        """

        def offer(message_id: str, answer: Answer) -> dict[str, Any] | None:
            if self._path is None or answer.status != "complete":
                return None
            while len(said) >= _MOST:
                del said[next(iter(said))]
            confidence = answer.confidence
            documents = dict.fromkeys(citation.evidence.chunk.document for citation in answer.citations)
            cited = tuple(one for one in documents if not one.startswith(UPLOADED))
            note = Note(
                question=question,
                history=tuple(turn.question for turn in history[-self._turns :]),
                answer=answer.text[:_MOST_ANSWER] if len(cited) == len(documents) else "",  # a dropped file is not kept
                route=answer.route,
                confidence=rounded_down(confidence.value, 3) if confidence else None,
            )
            said[message_id] = Said(note, cited)
            return {"answer": message_id, "file": self._path.name}

        return offer

    async def take(self, payload: object, said: Mapping[str, Said]) -> dict[str, str]:
        """
        Note what a reader says of an answer, in place of what he said of it before.

        Args:
            payload: `answer`, the id of its message; `verdict`, one of `right` (`words` would be), `unsaid` (by the
                documents) and `wrong` (and no more); and `words`. It comes from the browser, so it may be anything.
            said: the conversation's answers.

        Returns:
            `noted`, the name of the file, or `error`, a sentence for the reader.
        """
        return await self._in_words(self._take(payload, said))

    async def take_back(self, payload: object, said: Mapping[str, Said]) -> dict[str, str]:
        """
        Remove what was noted of an answer; its id is `answer` in the payload.

        Returns:
            `undone`, the name of the file, or `error`, a sentence for the reader.
        """
        return await self._in_words(self._take_back(payload, said))

    async def _take(self, payload: object, said: Mapping[str, Said]) -> dict[str, str]:
        path, one = self._found(payload, said)
        answers: tuple[str, ...] | None
        match payload:
            case {"verdict": "right", "words": str(words)}:
                answers = alternatives(words)
            case {"verdict": "unsaid"}:
                answers = ()
            case {"verdict": "wrong"}:
                answers = None
            case _:
                raise _not_understood()
        async with one.lock:
            document = await asyncio.to_thread(self._document, one.cited, answers) if answers else ""
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            note = Note(**{**vars(one.note), "answers": answers, "document": document, "at": at})
            await asyncio.to_thread(append, path, note)
            before, one.noted = one.noted, note
            if before:  # its reply was lost on the way, and the reader tried again
                await asyncio.to_thread(remove, path, before)
        return {"noted": path.name}

    async def _take_back(self, payload: object, said: Mapping[str, Said]) -> dict[str, str]:
        path, one = self._found(payload, said)
        async with one.lock:
            if one.noted:
                await asyncio.to_thread(remove, path, one.noted)
            one.noted = None
        return {"undone": path.name}

    def _found(self, payload: object, said: Mapping[str, Said]) -> tuple[Path, Said]:
        if self._path is None:
            raise FeedbackError("Marking answers is switched off: RAG_FEEDBACK is none.")
        match payload:
            case {"answer": str(message_id)}:
                if message_id in said:
                    return self._path, said[message_id]
                raise FeedbackError(
                    "This answer is no part of the running conversation any more, so nothing was noted. "
                    "Ask its question again to mark the new answer."
                )
        raise _not_understood()

    async def _in_words(self, work: Awaitable[dict[str, str]]) -> dict[str, str]:
        try:
            # To its end, whatever becomes of the page: what is written half-remembered could not be taken back.
            return await asyncio.shield(work)
        except RagError as error:
            if error.__cause__:  # the disk's fault, not the reader's
                log.warning("what a reader said of an answer is not noted: %s", error)
            return {"error": str(error)}
        except Exception:
            log.exception("error %s: what a reader said of an answer is not noted", code := new_error_id())
            return {"error": f"It could not be noted. The log of the chat has the details. Error id: {code}"}

    def _document(self, cited: Sequence[str], answers: Sequence[str]) -> str:
        # The one document that has an answer.
        having = [name for name in cited if _has(self._library.shelf, name, answers)]
        return having[0] if len(having) == 1 else ""


def _has(shelf: Shelf, name: str, answers: Sequence[str]) -> bool:
    entry = shelf.entries.get(name)
    if entry is None or entry.reason:
        return False
    try:
        return any(has_answer(chunk.text, answers) for chunk in shelf.index.document(entry.copy_of or name))
    except (KeyError, SearchError) as error:  # gone meanwhile, or its server does not answer: it goes without
        log.warning("it is not known whether %s has the answer: %s", name, error)
        return False


def _not_understood() -> FeedbackError:
    return FeedbackError("The page has sent what is no feedback, so nothing was noted. Reload it and try again.")

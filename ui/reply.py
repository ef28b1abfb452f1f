"""One answer on the page: draws the assistant's events into one message."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Literal

import chainlit as cl

from rag.errors import QuestionError, RagError, SearchError
from rag.events import Answer, Answered, Cost, Escalated, Event, Retrieved, Token, Waiting
from rag.evidence import Citation
from rag.shelf import Shelf
from rag.timings import Stopwatch
from ui.streaming import TokenStream

log = logging.getLogger(__name__)

_AROUND_CHARS = 700
_OUR_FAULT = "Something went wrong on our side."

#: What became of a quotation since it was cited; None if its document still has it.
Since = Literal["changed", "removed"] | None


class Reply:
    """
    Draws one answer.

    Args:
        watch: takes the times of the answer, also of one that does not end.
        large_label: the name of the large model, to say who is being asked.
        own: the names of the conversation's own documents.
        offer: is given the id and the answer of a whole message, and says what the page needs to mark it as wrong.
    """

    def __init__(
        self,
        watch: Stopwatch,
        *,
        large_label: str = "the large model",
        own: Collection[str] = (),
        offer: Callable[[str, Answer], dict[str, Any] | None] = lambda message_id, answer: None,
    ) -> None:
        self._offer = offer
        self._shelf = Shelf()
        self._own = frozenset(own)
        self._watch = watch
        self._escalated = False
        self._large_label = large_label
        self._message = cl.Message(content="")
        self._stream = TokenStream(self._message)
        self._card: cl.CustomElement | None = None
        self._sources: cl.CustomElement | None = None
        self._draft_model = ""
        self._shown = ""
        self._thinking = False
        self._whole = False
        self._elements: list[cl.CustomElement] = []

    async def draw(self, events: AsyncGenerator[Event, None], *, question: str) -> Answer | None:
        """
        Draw the events until the last one.

        Returns:
            The answer, or None if there was an error, which is then on the page in words.

        Raises:
            asyncio.CancelledError: after Stop, with what was there kept and marked.
        """
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Answered):
                        await self._finish(event.answer, question)
                        return event.answer
                    await self._draw(event)
        except asyncio.CancelledError:
            await self._stop(question)
            raise
        except RagError as error:
            log.warning("error %s: %s: %s", code := new_error_id(), type(error).__name__, error)
            again = None if isinstance(error, QuestionError) else question
            await self._mark(f"{error}\n\nError id: `{code}`", again)
        except Exception:
            log.exception("error %s", code := new_error_id())
            await self._mark(
                f"{_OUR_FAULT} Your question is still here; please ask it again. The log of the chat has the details."
                f"\n\nError id: `{code}`",
                question,
            )
        return None

    async def resend(self) -> None:
        """Send again what is on the page by now; packets sent while the connection was lost are gone."""
        if self._message.created_at or self._message.streaming:
            await resend(self._message, self._elements)

    @property
    def cited(self) -> list[tuple[str, str]]:
        """The documents of the folder that it cites, each with the words that it quotes."""
        sources = self._sources.props["sources"] if self._sources else []
        return [(source["document"], source["quote"]) for source in sources if not source["own"]]

    async def mark(self, since: Mapping[tuple[str, str], Since]) -> None:
        """Mark the sources that no longer hold, and take the mark from those that do again; the others stay."""
        if not self._sources:
            return
        metadata = self._message.metadata or {}
        sources = [self._marked(source, since) for source in metadata["sources"]]
        if sources != metadata["sources"]:
            self._message.metadata = metadata | {"sources": sources}
            await self._message.update()

    async def resend_marks(self) -> None:
        """Send the marks on the sources again."""
        if self._sources:
            await cl.context.emitter.update_step(self._message.to_dict())

    def _marked(self, source: dict[str, Any], since: Mapping[tuple[str, str], Since]) -> dict[str, Any]:
        place = (source["document"], source["quote"])
        if place not in since or source["document"] in self._own:
            return source
        kept = {name: value for name, value in source.items() if name != "since"}
        return kept | {"since": since[place]} if since[place] else kept

    async def _draw(self, event: Event) -> None:
        match event:
            case Waiting(why=why, text=text):
                self._thinking = why == "reasoning"
                await self._stream.replace(text)
            case Retrieved(shelf=shelf):
                self._shelf = shelf
            case Token(text=text, model=model):
                self._thinking = False
                self._draft_model = self._draft_model or model
                self._shown += text
                await self._stream.write(text)
            case Escalated(reason=reason, draft=draft):
                self._shown, self._thinking = "", False
                self._escalated = True
                await self._stream.replace(f"Asking {self._large_label} …")
                await self._send_card("escalating", reason, draft, self._draft_model, self._large_label)

    async def _finish(self, answer: Answer, question: str) -> None:
        await self._stream.flush()
        message = self._message
        message.content = answer.text
        message.metadata = answer.to_metadata()
        if answer.status == "partial":
            message.content += f"\n\n---\n\nNot complete: {(answer.reason or '').rstrip('.')}."
            message.actions = [ask_again(question)]
        self._whole = True
        await message.send()
        kind = _card_kind(answer)
        if kind and kind != "kept":
            await self._send_final_card(kind, answer)
        searched = message.metadata["searched"]
        if answer.citations or answer.unsupported or searched:
            described = zip(message.metadata["sources"], answer.citations, strict=True)
            sources = await asyncio.to_thread(self._with_surroundings, list(described))
            shown = {"answer": message.id, "sources": sources, "unsupported": answer.unsupported, "searched": searched}
            self._sources = await self._send_element("Sources", shown)
        self._shelf = Shelf()  # the state that it cites need not be kept as long as the page
        models = {"slm": answer.slm or None, "llm": answer.llm or None}
        extra = {"models": models, "feedback": self._offer(message.id, answer)}
        reasoning = message.metadata.get("reasoning")
        drawn = {name: value for name, value in message.metadata.items() if name != "reasoning"}
        await self._send_element("LatencyWaterfall", drawn | extra)
        if reasoning:
            await self._send_element("Reasoning", reasoning)
        if kind == "kept":
            await self._send_final_card(kind, answer)

    async def _stop(self, question: str) -> None:
        if self._whole:
            return
        prefix, model = ("llm_", self._large_label) if self._escalated else ("", self._draft_model)
        stage = "generate" if self._shown else "reasoning" if self._thinking else "first_token"
        self._watch.lap(f"{prefix}{stage}")
        stopped = Answer(
            text=self._shown,
            model=model if self._shown else "",
            route="escalated" if self._escalated else "slm",
            status="partial",
            reason="stopped",
            confidence=None,
            citations=(),
            unsupported=0,
            usage_slm=None,
            usage_llm=None,
            timings=self._watch.timings(),
            cost=Cost(),
        )
        metadata = stopped.to_metadata()
        await self._mark("Stopped.", question, metadata)
        await self._send_element("LatencyWaterfall", metadata)

    async def _mark(self, sentence: str, question: str | None, metadata: dict[str, Any] | None = None) -> None:
        if self._whole:
            return  # the answer stands; only what decorates it is missing
        await self._stream.flush()
        message = self._message
        message.content = f"{self._shown}\n\n---\n\n{sentence}" if self._shown else sentence
        message.metadata = metadata or {"status": "partial" if self._shown else "failed", "reason": sentence}
        message.actions = [ask_again(question)] if question else []
        self._whole = True
        await message.send()
        if self._card:
            self._card.props = {**self._card.props, "kind": "unfinished"}
            await self._card.update()

    async def _send_final_card(self, kind: str, answer: Answer) -> None:
        metadata = self._message.metadata or {}
        decision = {"confidence": metadata["confidence"], "cost": metadata["draft"], "final": answer.plain or None}
        large = answer.llm or self._large_label
        await self._send_card(kind, answer.reason or "", answer.draft, answer.slm, large, **decision)

    async def _send_card(
        self, kind: str, reason: str, draft: str | None, draft_model: str, model: str, **decision: Any
    ) -> None:
        props = {"kind": kind, "reason": reason, "draft": draft, "draft_model": draft_model, "model": model} | decision
        if self._card:
            self._card.props = props
            await self._card.update()
        else:
            self._card = await self._send_element("EscalationCard", props)

    async def _send_element(self, name: str, props: dict[str, Any]) -> cl.CustomElement:
        element = cl.CustomElement(name=name, props=props, display="inline")
        self._elements.append(element)
        await element.send(for_id=self._message.id)
        return element

    def _with_surroundings(self, described: Sequence[tuple[dict[str, Any], Citation]]) -> list[dict[str, Any]]:
        shelf = self._shelf
        sources = []
        for source, citation in described:
            try:
                around = shelf.neighbours(citation.evidence.chunk)
            except SearchError as error:  # what is quoted is here; the server is not asked again for what is around it
                log.warning("sources are shown without what is around them: %s", error)
                shelf, around = Shelf(), ("", "")
            sources.append(source | self._surroundings(citation, *around))
        return sources

    def _surroundings(self, citation: Citation, before: str, after: str) -> dict[str, Any]:
        evidence = citation.evidence
        chunk = evidence.chunk
        start, end = evidence.start - chunk.start, evidence.end - chunk.start
        return {
            "before": _before(before + chunk.text[:start], len(before) + start),
            "after": _after(chunk.text[end:] + after, 0),
            "own": chunk.document in self._own,
        }


def ask_again(question: str) -> cl.Action:
    """A button that asks the same question once more."""
    return cl.Action(name="ask_again", payload={"question": question}, label="Ask again", icon="rotate-cw")


@asynccontextmanager
async def in_words() -> AsyncIterator[None]:
    """Whatever else goes wrong is a sentence with an id on the page, and a traceback in the log."""
    try:
        yield
    except Exception:
        log.exception("error %s", code := new_error_id())
        await cl.Message(f"{_OUR_FAULT} The log of the chat has the details.\n\nError id: `{code}`").send()


async def resend(message: cl.Message, elements: Sequence[cl.Element]) -> None:
    """Send a message again, with its elements and buttons."""
    await cl.context.emitter.send_step(message.to_dict())
    for element in elements:
        await element.send(for_id=message.id)
    for action in message.actions:
        await action.send(for_id=message.id)


def new_error_id() -> str:
    """A short code that stands on the page and in the log."""
    return secrets.token_hex(4)


def _before(text: str, start: int) -> str:
    """Some of the text up to a place, from the beginning of a line."""
    if start <= _AROUND_CHARS:
        return text[:start]
    line = text.find("\n", start - _AROUND_CHARS, start)
    return "…\n" + text[line + 1 if line >= 0 else start - _AROUND_CHARS : start]


def _after(text: str, end: int) -> str:
    """Some of the text from a place on, up to the end of a line."""
    if len(text) - end <= _AROUND_CHARS:
        return text[end:]
    line = text.rfind("\n", end, end + _AROUND_CHARS)
    return text[end : line if line >= 0 else end + _AROUND_CHARS] + "\n…"


def _card_kind(answer: Answer) -> str | None:
    if answer.route in ("escalated", "quoted", "refined") or (answer.route == "abstained" and answer.verdict):
        return answer.route
    if answer.route == "slm" and answer.reason and answer.status == "complete":
        return "unchecked"
    if answer.route == "slm" and answer.status == "complete" and answer.confidence:
        return "kept"
    return None

"""`/compare` in the chat: the small and the large model answer the same, side by side, for presenters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import chainlit as cl

from rag.assistant import Assistant, Knobs
from rag.costs import Price
from rag.documents import Document
from rag.errors import ModelUnavailable, QuestionError, RagError
from rag.settings import Settings
from rag.workbench.compare import DEFAULT_PROMPT, Brief, Comparison, evidence_for
from rag.workbench.contenders import Contender
from ui.report import code, plain

COMMAND = "compare"
ELEMENT = "AnswerColumns"

_EVERY_S = 0.15


class AnswerColumns:
    """
    One comparison on the page: a message with a column for each model, which grow as the models write.

    Attributes:
        message: what is on the page.
    """

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt
        self._comparison: Comparison | None = None
        self._element = cl.CustomElement(name=ELEMENT, props={"columns": [], "evidence": 0}, display="inline")
        self.message = cl.Message(f"Comparing: {plain(prompt)}", elements=[self._element])

    async def draw(self, assistant: Assistant, *, knobs: Knobs, uploads: Sequence[Document] = ()) -> None:
        """
        Ask both models and draw what they say; whatever goes wrong is on the page in words.

        Raises:
            asyncio.CancelledError: after Stop, with what was there kept and marked.
        """
        await self.message.send()
        try:
            contenders = await _both(assistant, self._prompt)
            async with assistant.slot():
                await self._compare(assistant, contenders, knobs, uploads)
        except RagError as error:
            await self._end(str(error))
        except asyncio.CancelledError:
            await self._end("Stopped.")
            raise

    async def _compare(
        self, assistant: Assistant, contenders: Sequence[Contender], knobs: Knobs, uploads: Sequence[Document]
    ) -> None:
        settings = assistant.settings
        shelf = await asyncio.to_thread(assistant.library.with_uploads, uploads)
        evidence = await asyncio.to_thread(
            evidence_for,
            shelf,
            self._prompt,
            k=knobs.k,
            tokens=knobs.evidence_tokens,
            min_coverage=settings.min_coverage,
        )
        brief = Brief(
            self._prompt,
            evidence,
            max_tokens=settings.slm_max_tokens,
            temperature=knobs.temperature,
            cloud=Price(settings.cloud_price_in, settings.cloud_price_out),
        )
        self._comparison = comparison = Comparison(contenders, brief, cards=assistant.cards)
        work = asyncio.create_task(comparison.run())
        try:
            while not work.done():
                await self._show(contenders, comparison, evidence=len(evidence))
                await asyncio.wait({work}, timeout=_EVERY_S)
            await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self._show(contenders, comparison, evidence=len(evidence), over=True)
        await self._end("")

    async def _show(
        self, contenders: Sequence[Contender], comparison: Comparison, *, evidence: int, over: bool = False
    ) -> None:
        rows = comparison.rows()
        columns = []
        for place, contender in enumerate(contenders):
            begun = comparison.outcomes[place] if place < len(comparison.outcomes) else None
            done = begun is not None and (begun.call is not None or begun.error is not None)
            text = begun.text if begun else ""
            shown: dict[str, Any] = {"name": contender.alias, "where": contender.where, "text": text}
            shown["state"] = "done" if done else "stopped" if over else "writing" if begun else "waiting"
            columns.append(shown | (_figures(rows[place]) if done else {}))
        props = {"columns": columns, "evidence": evidence}
        if props != self._element.props:
            self._element.props = props
            await self._element.update()

    async def _end(self, sentence: str) -> None:
        parts = [f"Compared: {plain(self._prompt)}"]
        for row in self._comparison.rows() if self._comparison else []:
            # For copies and for pages that draw no columns; where they are drawn, the page hides these lines.
            said = row["error"] if "error" in row else f"{row['text']} ({row['latency_sec']:.1f} s)"
            parts.append(f"> {code(row['alias'])}: {plain(said)}")
        self.message.content = "\n\n".join([*parts, *([sentence] if sentence else [])])
        await self.message.update()


def prompt_of(asked: str, settings: Settings) -> str:
    """What is compared: what stands behind the command, else the prompt of the settings, else ours."""
    return asked.strip() or settings.compare_prompt or DEFAULT_PROMPT


async def _both(assistant: Assistant, prompt: str) -> list[Contender]:
    limit = assistant.settings.max_question_chars
    if len(prompt) > limit:
        raise QuestionError(f"The prompt has {len(prompt):,} characters; the limit is {limit:,}. Please shorten it.")
    await assistant.start()
    models = assistant.models
    if models is None:
        raise ModelUnavailable(" ".join(assistant.faults))
    settings = assistant.settings
    large = (
        Contender(
            models.llm.label, models.llm, shared=True,
            max_tokens=settings.llm_max_tokens, limited_by="RAG_LLM_MAX_TOKENS",
        )
        if models.llm
        else Contender(settings.llm_model, None, models.no_llm)
    )  # fmt: skip
    small = Contender(
        models.slm.label, models.slm, shared=True,
        max_tokens=settings.slm_max_tokens, limited_by="RAG_SLM_MAX_TOKENS",
    )  # fmt: skip
    return [small, large]


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    if "error" in row:
        return {"error": row["error"]}
    return {
        "model": row["model"],
        "seconds": row["latency_sec"],
        "ttft": row["first_token_latency_sec"],
        "tokens": row["tokens"],
        "counted": row["tokens_counted"],
        "rate": row["decode_tokens_per_sec"],
        "speed_up": row["speed_up"],
        "cost": row["cost_cloud_equivalent"],
    }

"""The same prompt to several models, with the same evidence: what each answers, how fast, and for how much."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rag.cards import Cards
from rag.costs import Price, card_price
from rag.errors import ModelError
from rag.evidence import Evidence, coverage, gather, is_enough
from rag.prompts import Message, build_messages
from rag.shelf import Shelf
from rag.workbench.contenders import Contender, machine
from rag.workbench.marks import Marks
from rag.workbench.speed import Call, timed_call, warm_up

#: What is asked where nobody says what.
DEFAULT_PROMPT = "Which advantages does a small language model on my own machine have over a large one?"

_SAMPLE_CHARS = 200
_DIGITS = 8  # of dollars


@dataclass(frozen=True)
class Brief:
    """
    What every model is asked.

    Attributes:
        prompt: in plain text.
        evidence: from the documents, best first; empty: the prompt is asked alone.
        max_tokens: the longest answer.
        temperature: of the models.
        together: whether all are asked at once.
        label: what the user calls this run; None: nothing.
        cloud: the price of a hypothetical cloud, for models whose card has none; None: not known.
    """

    prompt: str
    evidence: Sequence[Evidence] = ()
    max_tokens: int = 160
    temperature: float = 0.0
    together: bool = False
    label: str | None = None
    cloud: Price | None = None

    @property
    def messages(self) -> list[Message]:
        """The prompt in chat form, the same for every model."""
        return (
            build_messages(self.prompt, self.evidence) if self.evidence else [{"role": "user", "content": self.prompt}]
        )


@dataclass
class Outcome:
    """
    What became of one model.

    Attributes:
        contender: the model.
        text: what it said so far.
        call: its whole answer; None if there is none yet, or it failed.
        error: why it failed; None if it did not.
        marks: what its answer is worth; None if nobody said.
        judge: who said so; None if nobody did.
        judged_itself: whether that was the same model.
    """

    contender: Contender
    when: str
    text: str = ""
    call: Call | None = None
    error: str | None = None
    marks: Marks | None = None
    judge: str | None = None
    judged_itself: bool = False


def evidence_for(shelf: Shelf, prompt: str, *, k: int, tokens: int, min_coverage: float) -> tuple[Evidence, ...]:
    """
    What the documents say to a prompt, found as the chat finds it; nothing if they do not bear on it.

    Args:
        shelf: the documents.
        prompt: in plain text.
        k: how many chunks are searched.
        tokens: the budget, in estimated tokens.
        min_coverage: the least share of the prompt's words in the evidence.
    """
    hits = shelf.search(prompt, k=k)
    found = gather(prompt, hits, tokens=tokens, weight=shelf.weight)
    share = coverage(prompt, found, weight=shelf.weight)
    return found if is_enough(found, share, hits, min_coverage=min_coverage) else ()


class Comparison:
    """
    Asks models the same; what is there can be read at any time, also after a stop.

    The last one is what the others are compared with.

    Args:
        contenders: the models.
        brief: what they are asked.
        cards: what is known of models.
        show: is given the place of a model and each piece of its answer as it comes.
        clock: seconds, from anywhere.
        now: the time of day.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        brief: Brief,
        *,
        cards: Cards | None = None,
        show: Callable[[int, str], None] = lambda place, text: None,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._contenders = contenders
        self._brief = brief
        self._cards = cards or Cards(None)
        self._show = show
        self._clock = clock
        self._now = now

    async def run(self) -> None:
        """Ask all: one after the other, each alone on the machine, or together. One that fails costs no other."""
        if self._brief.together:
            self.outcomes = [self._outcome(one) for one in self._contenders]
            await asyncio.gather(*(self._warmed(one) for one in self.outcomes))
            # TaskGroup: a stop, or a fault of ours, ends all of them before it is passed on.
            async with asyncio.TaskGroup() as group:
                for place, one in enumerate(self.outcomes):
                    group.create_task(self._ask(place, one))
            return
        for place, contender in enumerate(self._contenders):
            one = self._outcome(contender)
            self.outcomes.append(one)
            try:
                await self._warmed(one)
                await self._ask(place, one)
            finally:
                await contender.unload()

    def rows(self) -> list[dict[str, Any]]:
        """A row for each model that was asked, the workshop's names first; one that failed has an `error`."""
        last = self.outcomes[-1] if len(self.outcomes) == len(self._contenders) and self.outcomes else None
        reference = last.call if last else None
        return [_row(one, self._brief, reference, self._cost(one)) for one in self.outcomes]

    def _cost(self, one: Outcome) -> float | None:
        if one.call is None:
            return None
        price = card_price((one.contender.alias, one.call.model), self._cards) or self._brief.cloud
        cost = price.of(one.call.usage) if price else None
        return None if cost is None else round(cost, _DIGITS)

    def _outcome(self, contender: Contender) -> Outcome:
        when = self._now().astimezone().isoformat(timespec="seconds")
        return Outcome(contender, when, error=contender.fault or None)

    async def _warmed(self, one: Outcome) -> None:
        if one.contender.backend is None:
            return
        try:
            await warm_up(one.contender.backend)
        except ModelError:
            pass  # the call itself will tell

    async def _ask(self, place: int, one: Outcome) -> None:
        backend = one.contender.backend
        if backend is None:
            return

        def show(text: str) -> None:
            one.text += text
            self._show(place, text)

        try:
            one.call = await timed_call(
                backend,
                self._brief.messages,
                max_tokens=one.contender.max_tokens or self._brief.max_tokens,
                temperature=self._brief.temperature,
                limited_by=one.contender.limited_by,
                show=show,
                clock=self._clock,
            )
        except ModelError as error:
            one.error = str(error)


def _row(one: Outcome, brief: Brief, reference: Call | None, cost: float | None) -> dict[str, Any]:
    call = one.call
    shared = {
        "where": one.contender.where,
        "label": brief.label,
        "prompt": brief.prompt,
        "evidence": [{"document": item.chunk.document, "text": item.text} for item in brief.evidence],
        "max_tokens": one.contender.max_tokens or brief.max_tokens,
        "temperature": brief.temperature,
        "together": brief.together,
        "when": one.when,
        "machine": machine(),
    }
    if call is None:
        return {
            "alias": one.contender.alias,
            "error": one.error or "Stopped before its answer was whole.",
            "status": "failed",
            "sample": one.text.strip()[:_SAMPLE_CHARS] or None,
            **shared,
        }
    decode = call.decode_per_s
    return {
        "alias": one.contender.alias,
        "latency_sec": round(call.total_s, 4),
        "tokens": call.tokens,
        "sample": call.text.strip()[:_SAMPLE_CHARS],
        "status": "ok",
        "model": call.model,
        "first_token_latency_sec": round(call.ttft_s, 4),
        "decode_tokens_per_sec": None if decode is None else round(decode, 2),
        "prompt_tokens": call.usage.prompt if call.usage else None,
        "completion_tokens": call.usage.completion if call.usage else None,
        "reasoning_tokens": call.reasoning,
        "tokens_counted": call.counted,
        "finish": call.finish,
        "speed_up": round(reference.total_s / call.total_s, 3) if reference and call.total_s > 0 else None,
        "token_delta": call.tokens - reference.tokens if reference else None,
        "cost_cloud_equivalent": cost,
        "scores": one.marks.to_json() if one.marks else None,
        "judge": one.judge,
        "judged_itself": one.judged_itself,
        "text": call.text.strip(),
        **shared,
    }

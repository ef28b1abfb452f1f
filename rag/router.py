"""The hybrid router: draft with the SLM, judge, then keep, escalate, refine or quote."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from rag.backends.base import Backend
from rag.chunking import count_words
from rag.confidence import SAYS_NOTHING, doubt_of, judge
from rag.errors import ModelUnavailable
from rag.events import Escalated, Route, Status, Token, Verdict, Waiting
from rag.evidence import cite
from rag.generation import Generation, Look, Reply, Task
from rag.prompts import Message, build_refine_messages
from rag.rules import Ledger, Rules, below, matching, reason_not_to_escalate, reason_to_skip_the_draft, would_keep

_DRAFT_STAGES = ("send", "first_token", "reasoning", "generate", "judge")

NO_LLM = "No large model is configured. Set RAG_LLM_URL or RAG_LLM_GGUF, or choose the mode Hybrid or Local only."


@dataclass(frozen=True)
class Routed:
    """
    The router's decision, after its last token.

    Attributes:
        route: `quoted` means that `final` has no text and the evidence speaks instead; `abstained` that the draft says
            that the documents do not say.
        reason: see `Answer.reason`.
        final: the reply that stands.
        draft: the SLM's reply if there was one; it may be the final one.
        verdict: how the draft was judged; None if there was none.
    """

    route: Route
    reason: str | None
    final: Reply
    draft: Reply | None = None
    status: Status = "complete"
    verdict: Verdict | None = None


def reason_to_escalate(draft: Reply, *, min_words: int, min_confidence: float, doubt: str | None = None) -> str | None:
    """
    Judge a draft: the sentence the screen shows, or None to keep it.

    Exactly at a threshold is kept. An unknown confidence is not a high one. With a `min_confidence` of 0 a doubt about
    its words (see `rag.confidence.doubt_of`) does not count either.

    >>> from rag.confidence import Confidence
    >>> reason_to_escalate(Reply("In Lyon, I think.", confidence=Confidence(0.31, "support")),
    ...                    min_words=3, min_confidence=0.60)
    'low confidence: 0.31 < 0.60'
    """
    count = count_words(draft.text)
    if count == 0:
        return "empty draft"
    if count < min_words:
        return f"short draft: {count} < {min_words} words"
    if doubt and min_confidence:
        return doubt
    if draft.confidence is None:
        return None if min_confidence == 0 else "unknown confidence"
    if not draft.confidence.value >= min_confidence:  # nor is what is no number
        return f"low confidence: {below(draft.confidence.value, min_confidence)}"
    return None


def reason_to_refine(draft: Reply, question: str, *, over_chars: int, topics: Sequence[str]) -> str | None:
    """Why a draft is worth polishing: a flagged topic or its length; None if it is not."""
    topic = matching(topics, question)
    if topic is not None:
        return f"flagged topic: {topic}"
    if len(draft.text) > over_chars:
        return f"long draft: {len(draft.text)} > {over_chars} characters"
    return None


_Events = AsyncGenerator[Token | Escalated | Waiting | Routed, None]


class HybridRouter:
    """
    Decides which model's words the reader gets.

    Args:
        slm: drafts.
        llm: answers what the SLM cannot; None if there is none.
        slm_max_tokens, llm_max_tokens: the longest replies.
        refine_over_chars, refine_topics: what mode `refine` polishes.
        rules: what is decided apart from a finished draft.
        ledger: the escalations of all chats, for a router that takes the place of another.
        clock: for the rules' times, in seconds.
    """

    def __init__(
        self,
        slm: Backend,
        llm: Backend | None = None,
        *,
        slm_max_tokens: int = 160,
        llm_max_tokens: int = 400,
        refine_over_chars: int = 600,
        refine_topics: Sequence[str] = (),
        rules: Rules | None = None,
        ledger: Ledger | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slm = slm
        self.llm = llm
        self._slm_max_tokens = slm_max_tokens
        self._llm_max_tokens = llm_max_tokens
        self._refine_over_chars = refine_over_chars
        self._refine_topics = tuple(refine_topics)
        self._rules = rules or Rules()
        self._ledger = ledger or Ledger()
        self._clock = clock

    async def answer(self, task: Task) -> _Events:
        """
        Yield the models' tokens and, last, one `Routed`.

        A model that fails costs the answer nothing that can be saved: the other model is asked, or the evidence
        is quoted, and the reason says so.

        Raises:
            ModelUnavailable: mode `llm` without an LLM.
        """
        route = self._answer_large(task) if task.mode == "llm" else self._answer_small_first(task)
        async with aclosing(route) as events:
            async for event in events:
                yield event

    async def _answer_large(self, task: Task) -> _Events:
        if self.llm is None:
            raise ModelUnavailable(NO_LLM)
        large = Generation(self.llm, "llm_", task, clock=self._clock)
        async with aclosing(self._ask(large, task.messages)) as events:
            async for event in events:
                yield event
        yield _standing("llm", None, large.reply, None)

    async def _ask(self, large: Generation, messages: Sequence[Message]) -> _Events:
        try:
            async with aclosing(large.run(messages, self._llm_max_tokens)) as events:
                async for event in events:
                    yield event
        finally:
            # A first word that never came is counted where the wait alone was too long.
            waited = large.waited_s
            if waited is not None and (large.reply.text or waited > self._rules.ttft_budget_s > 0):
                self._ledger.saw_ttft(waited, at=self._clock())

    async def _answer_small_first(self, task: Task) -> _Events:
        wish, barred, unheard = None, "", Reply("")
        if task.mode != "slm":
            # Weak evidence is the large model's matter only where there is one.
            wish = reason_to_skip_the_draft(
                task.question,
                task.coverage if self.llm else 1.0,
                self._rules,
                small=task.small,
                large=task.large if self.llm else None,
            )
        if wish:
            barred = self._take_escalation(task)
        if wish and not barred and self.llm:
            async with aclosing(self._escalate(self.llm, task, None, wish, None)) as events:
                async for event in events:
                    if isinstance(event, Routed) and not event.final.text:
                        barred, unheard = event.final.cut or "", event.final
                    else:
                        yield event
            if not barred:
                return
        async with aclosing(self._draft(task, wish, barred, unheard)) as events:
            async for event in events:
                yield event

    async def _draft(self, task: Task, wish: str | None, barred: str, unheard: Reply) -> _Events:
        look = self._look(task)
        small = Generation(self.slm, "", task, clock=self._clock, look=look)
        async with aclosing(small.run(task.draft_messages or task.messages, self._slm_max_tokens)) as tokens:
            async for token in tokens:
                yield token
        draft = small.reply
        if draft.text and draft.confidence is None:
            draft = replace(draft, confidence=judge(task.draft(draft), calibration=task.calibration))
        failed = draft.cut if small.failed else None
        said, bare = None, False
        if draft.text and not draft.cut:
            cited = await asyncio.to_thread(cite, draft.text, task.evidence)
            draft = replace(draft, cited=cited)
            said, bare = doubt_of(task.draft(draft), cited), cited.is_bare
        doubt = draft.cut or reason_to_escalate(
            draft, min_words=task.min_draft_words, min_confidence=task.min_confidence, doubt=said
        )
        if bare and task.min_confidence:
            doubt = doubt or "no sentence of the draft is supported"
        task.watch.lap("judge")
        polish = None
        if task.mode == "refine" and not doubt:
            polish = reason_to_refine(
                draft, task.question, over_chars=self._refine_over_chars, topics=self._refine_topics
            )
        verdict = self._verdict(draft, task, by_confidence=not (said or bare))
        if (doubt or polish) and not barred and self.llm and task.mode != "slm":
            barred = self._take_escalation(task)
            if not barred:
                async with aclosing(self._escalate(self.llm, task, draft, doubt, polish)) as events:
                    async for event in events:
                        yield replace(event, verdict=verdict) if isinstance(event, Routed) else event
                return
        if doubt or polish:
            yield replace(_without_large(draft, doubt, polish, failed, barred, unheard), verdict=verdict)
        else:
            yield Routed("slm", _joined(wish, barred) if wish else None, draft, draft, verdict=verdict)

    def _take_escalation(self, task: Task) -> str:
        """Count an escalation, or say what forbids it. Nothing is awaited between the two, so no limit is passed."""
        if self.llm is None:
            return "no large model to ask"
        now = self._clock()
        barred = reason_not_to_escalate(
            self._rules,
            in_last_minute=self._ledger.in_last_minute(now=now),
            in_chat=task.chat.count,
            ttft_s=self._ledger.usual_ttft_s(now=now),
        )
        if barred:
            return barred
        self._ledger.escalated(at=now)
        task.chat.escalated(at=now)
        return ""

    def _look(self, task: Task) -> Look | None:
        threshold = min(self._rules.early_confidence, task.min_confidence)
        if task.mode not in ("hybrid", "slm") or not self._rules.early_tokens or not threshold:
            return None
        return Look(self._rules.early_tokens, threshold)

    def _verdict(self, draft: Reply, task: Task, *, by_confidence: bool) -> Verdict:
        threshold = task.min_confidence
        if draft.hopeless:
            threshold = min(self._rules.early_confidence, threshold)
        kept_at = None
        whole = by_confidence and not draft.cut and count_words(draft.text) >= max(1, task.min_draft_words)
        if draft.confidence and draft.confidence.value < threshold and (whole or draft.hopeless):
            kept_at = would_keep(draft.confidence.value)
        seconds = sum(stage.seconds for stage in task.watch.timings().stages if stage.name in _DRAFT_STAGES)
        tokens = draft.usage.completion if draft.usage else draft.tokens
        return Verdict(threshold, kept_at, tokens, self._slm_max_tokens, seconds, draft.hopeless)

    async def _escalate(
        self, llm: Backend, task: Task, draft: Reply | None, doubt: str | None, polish: str | None
    ) -> _Events:
        reason = doubt or polish or ""
        text = draft.text if draft else ""
        yield Escalated(reason, text)
        messages = task.messages if doubt else build_refine_messages(task.question, task.evidence, text)
        task.watch.lap("llm_prompt")
        large = Generation(llm, "llm_", task, clock=self._clock)
        async with aclosing(self._ask(large, messages)) as events:
            async for event in events:
                yield event
        if draft and not doubt and (large.failed or not large.reply.text):
            yield Routed("slm", f"not polished ({reason}): {large.reply.cut}", draft, draft)
        elif large.reply.text:
            yield _standing("escalated" if doubt else "refined", reason, large.reply, draft)
        else:
            yield Routed("quoted", _joined(reason, large.reply.cut), large.reply, draft)


def _without_large(
    draft: Reply, doubt: str | None, polish: str | None, failed: str | None, barred: str, unheard: Reply
) -> Routed:
    """What becomes of a draft that the LLM should see and does not; `unheard` is what the LLM said, if it was asked."""
    if not doubt:
        return Routed("slm", f"not polished ({polish}): {barred or 'no large model to ask'}", draft, draft)
    if doubt == SAYS_NOTHING:
        return Routed("abstained", _joined(doubt, barred), unheard, draft)
    if failed and draft.text:
        return Routed("slm", _joined(failed, barred), draft, draft, "partial")
    return Routed("quoted", _joined(doubt, barred), unheard, draft)


def _joined(*reasons: str | None) -> str:
    known = [reason for reason in reasons if reason]
    return known[0] if len(known) == 1 else "; ".join(reason.rstrip(".") for reason in known)


def _standing(route: Route, reason: str | None, final: Reply, draft: Reply | None) -> Routed:
    """A reply that stands, marked if it is not whole; without text, the evidence speaks instead."""
    if not final.text:
        return Routed("quoted", final.cut, final, draft)
    if final.cut:
        return Routed(route, _joined(reason, final.cut), final, draft, "partial")
    return Routed(route, reason, final, draft)

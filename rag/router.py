"""The hybrid router: draft with the SLM, judge, then keep, escalate, refine or quote."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from rag.backends.base import Backend, Done, Opened, Text, Usage
from rag.confidence import Confidence, judge, repeats_itself
from rag.errors import ModelError, ModelUnavailable
from rag.events import Escalated, Route, Status, Token, Waiting
from rag.evidence import Evidence
from rag.prompts import Message, build_refine_messages
from rag.settings import Mode
from rag.timings import Stopwatch

# A server that ignores the limit of tokens is stopped when it has sent so many times as many pieces.
_PATIENCE = 2

NO_LLM = "No large model is configured. Set RAG_LLM_URL or RAG_LLM_GGUF, or choose the mode Hybrid or Local only."


@dataclass(frozen=True)
class Reply:
    """
    What a model said.

    Attributes:
        text: without surrounding whitespace.
        model: as the server reported it.
        confidence: of a draft; None where it was not judged.
        logprobs: of its tokens; None if the server gave none.
        usage: None if the server did not count.
        cut: why it is not whole, in words; None if it is.
    """

    text: str
    model: str = ""
    confidence: Confidence | None = None
    logprobs: tuple[float, ...] | None = None
    usage: Usage | None = None
    cut: str | None = None


@dataclass(frozen=True)
class Task:
    """
    One question on its way through the router.

    Attributes:
        question: as asked.
        evidence: best first; not empty.
        messages: the prompt made of both.
        coverage: the share of the question's words that the best evidence has, 0 to 1.
        mode: which models may answer.
        temperature: of both models.
        min_draft_words, min_confidence: the thresholds below which a draft is not kept.
        watch: takes the times.
    """

    question: str
    evidence: tuple[Evidence, ...]
    messages: Sequence[Message]
    coverage: float = 1.0
    mode: Mode = "hybrid"
    temperature: float = 0.0
    min_draft_words: int = 3
    min_confidence: float = 0.60
    watch: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True)
class Routed:
    """
    The router's decision, after its last token.

    Attributes:
        route: `quoted` means that `final` has no text and the evidence speaks instead.
        reason: see `Answer.reason`.
        final: the reply that stands.
        draft: the SLM's reply if there was one; it may be the final one.
    """

    route: Route
    reason: str | None
    final: Reply
    draft: Reply | None = None
    status: Status = "complete"


def reason_to_escalate(draft: Reply, *, min_words: int, min_confidence: float) -> str | None:
    """
    Judge a draft: the sentence the screen shows, or None to keep it.

    Exactly at a threshold is kept. An unknown confidence is not a high one.

    >>> reason_to_escalate(Reply("In Lyon, I think.", confidence=Confidence(0.31, "support")),
    ...                    min_words=3, min_confidence=0.60)
    'low confidence: 0.31 < 0.60'
    """
    count = len(draft.text.split())
    if count == 0:
        return "empty draft"
    if count < min_words:
        return f"short draft: {count} < {min_words} words"
    if draft.confidence is None:
        return None if min_confidence == 0 else "unknown confidence"
    if draft.confidence.value < min_confidence:
        # Rounded down, so that 0.598 never shows as 0.60 < 0.60.
        shown = int(draft.confidence.value * 100) / 100
        return f"low confidence: {shown:.2f} < {min_confidence:.2f}"
    return None


def reason_to_refine(draft: Reply, question: str, *, over_chars: int, topics: Sequence[str]) -> str | None:
    """Why a draft is worth polishing: a flagged topic or its length; None if it is not."""
    for topic in topics:
        if re.search(topic, question, re.IGNORECASE):
            return f"flagged topic: {topic}"
    if len(draft.text) > over_chars:
        return f"long draft: {len(draft.text)} > {over_chars} characters"
    return None


class HybridRouter:
    """
    Decides which model's words the reader gets.

    Args:
        slm: drafts.
        llm: answers what the SLM cannot; None if there is none.
        slm_max_tokens, llm_max_tokens: the longest replies.
        refine_over_chars, refine_topics: what mode `refine` polishes.
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
    ) -> None:
        self.slm = slm
        self.llm = llm
        self._slm_max_tokens = slm_max_tokens
        self._llm_max_tokens = llm_max_tokens
        self._refine_over_chars = refine_over_chars
        self._refine_topics = tuple(refine_topics)

    async def answer(self, task: Task) -> AsyncGenerator[Token | Escalated | Waiting | Routed, None]:
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

    async def _answer_large(self, task: Task) -> AsyncGenerator[Token | Escalated | Waiting | Routed, None]:
        if self.llm is None:
            raise ModelUnavailable(NO_LLM)
        large = _Generation(self.llm, "llm_", task)
        async with aclosing(large.run(task.messages, self._llm_max_tokens)) as events:
            async for event in events:
                yield event
        yield _standing("llm", None, large.reply, None)

    async def _answer_small_first(self, task: Task) -> AsyncGenerator[Token | Escalated | Waiting | Routed, None]:
        small = _Generation(self.slm, "", task)
        async with aclosing(small.run(task.messages, self._slm_max_tokens)) as events:
            async for event in events:
                yield event
        draft = small.reply
        if draft.text:
            confidence = judge(draft.text, task.question, task.evidence, draft.logprobs, coverage=task.coverage)
            draft = replace(draft, confidence=confidence)
        task.watch.lap("judge")

        failed = draft.cut if small.failed else None
        doubt = draft.cut or reason_to_escalate(
            draft, min_words=task.min_draft_words, min_confidence=task.min_confidence
        )
        polish = None
        if task.mode == "refine" and not doubt:
            polish = reason_to_refine(
                draft, task.question, over_chars=self._refine_over_chars, topics=self._refine_topics
            )
        if not doubt and not polish:
            yield Routed("slm", None, draft, draft)
        elif self.llm is None or task.mode == "slm":
            yield self._without_large(draft, doubt, polish, failed)
        else:
            async with aclosing(self._escalate(self.llm, task, draft, doubt, polish)) as events:
                async for event in events:
                    yield event

    async def _escalate(
        self, llm: Backend, task: Task, draft: Reply, doubt: str | None, polish: str | None
    ) -> AsyncGenerator[Token | Escalated | Waiting | Routed, None]:
        reason = doubt or polish or ""
        yield Escalated(reason, draft.text)
        messages = task.messages if doubt else build_refine_messages(task.question, task.evidence, draft.text)
        task.watch.lap("llm_prompt")
        large = _Generation(llm, "llm_", task)
        async with aclosing(large.run(messages, self._llm_max_tokens)) as events:
            async for event in events:
                yield event
        if not doubt and (large.failed or not large.reply.text):
            yield Routed("slm", f"not polished ({reason}): {large.reply.cut}", draft, draft)
        elif large.reply.text:
            yield _standing("escalated" if doubt else "refined", reason, large.reply, draft)
        else:
            yield Routed("quoted", _joined(reason, large.reply.cut), large.reply, draft)

    @staticmethod
    def _without_large(draft: Reply, doubt: str | None, polish: str | None, failed: str | None) -> Routed:
        if not doubt:
            return Routed("slm", f"not polished ({polish}): no large model to ask", draft, draft)
        if failed and draft.text:
            return Routed("slm", failed, draft, draft, "partial")
        return Routed("quoted", doubt, Reply(""), draft)


class _Generation:
    """One model writing one reply; `reply` is complete when `run` has ended, also after a failure."""

    def __init__(self, backend: Backend, prefix: str, task: Task) -> None:
        self.reply = Reply("", backend.label)
        self.failed = False
        self._backend = backend
        self._prefix = prefix
        self._task = task

    async def run(
        self, messages: Sequence[Message], max_tokens: int
    ) -> AsyncGenerator[Token | Escalated | Waiting | Routed, None]:
        watch, backend = self._task.watch, self._backend
        try:
            if not backend.ready:
                yield Waiting("model", f"Loading {backend.label} …")
                await backend.start()
                watch.lap(f"{self._prefix}load")
            stream = backend.stream(messages, max_tokens=max_tokens, temperature=self._task.temperature)
            async with aclosing(self._tokens(stream, max_tokens)) as tokens:
                async for token in tokens:
                    yield token
        except ModelError as error:
            self.failed = True
            self.reply = replace(self.reply, cut=str(error))
            watch.lap(f"{self._prefix}{'generate' if self.reply.text else 'send'}")
        self.reply = replace(self.reply, text=self.reply.text.strip())
        if not self.reply.text and not self.reply.cut:
            self.reply = replace(self.reply, cut=f"{self.reply.model} gave an empty answer")

    async def _tokens(
        self, stream: AsyncGenerator[Opened | Text | Done, None], max_tokens: int
    ) -> AsyncGenerator[Token, None]:
        watch, prefix = self._task.watch, self._prefix
        text: list[str] = []
        logprobs: list[float] | None = []
        try:
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    match piece:
                        case Opened():
                            watch.lap(f"{prefix}send")
                        case Text():
                            visible = piece.text if text else piece.text.lstrip()
                            if not visible:
                                continue
                            if not text:
                                watch.lap(f"{prefix}first_token")
                                watch.saw_text()
                            text.append(visible)
                            if piece.logprobs is None:
                                logprobs = None
                            elif logprobs is not None:
                                logprobs.extend(piece.logprobs)
                            yield Token(visible, self.reply.model)
                            if len(text) > _PATIENCE * max_tokens:
                                self._finish(Done("length", self.reply.model), max_tokens)
                                break
                            # A line or a list may rightly say the same words again; a draft of the SLM need not.
                            if not prefix and len(text) % 8 == 0 and repeats_itself("".join(text)):
                                self.reply = replace(self.reply, cut="the draft repeats itself")
                                break
                        case Done():
                            self._finish(piece, max_tokens)
        finally:
            known = tuple(logprobs) if logprobs else None
            self.reply = replace(self.reply, text="".join(text), logprobs=known)
        watch.lap(f"{prefix}generate")

    def _finish(self, done: Done, max_tokens: int) -> None:
        setting = "RAG_LLM_MAX_TOKENS" if self._prefix else "RAG_SLM_MAX_TOKENS"
        cut = {
            "length": f"the answer was cut at the limit of {max_tokens} tokens ({setting})",
            "content_filter": "cut by the server's content filter",
        }.get(done.finish)
        self.reply = replace(self.reply, model=done.model, usage=done.usage, cut=cut)


def _joined(*reasons: str | None) -> str:
    return "; ".join(reason.rstrip(".") for reason in reasons if reason)


def _standing(route: Route, reason: str | None, final: Reply, draft: Reply | None) -> Routed:
    """A reply that stands, marked if it is not whole; without text, the evidence speaks instead."""
    if not final.text:
        return Routed("quoted", final.cut, final, draft)
    if final.cut:
        return Routed(route, _joined(reason, final.cut), final, draft, "partial")
    return Routed(route, reason, final, draft)

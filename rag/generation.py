"""One model writing one reply: its text, its times, and how a hopeless draft is stopped on the way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeVar

from rag.backends.base import Backend, Done, Opened, Piece, Reasoning, Text, Usage, loading_text
from rag.calibration import SHIPPED, Calibration
from rag.cards import Card
from rag.chunking import is_unspaced
from rag.confidence import Confidence, judge, repeats_itself
from rag.errors import ModelBroke, ModelError
from rag.events import Reasoned, Token, Waiting
from rag.evidence import Cited, Evidence
from rag.prompts import Message
from rag.rules import Ledger, below
from rag.settings import Mode
from rag.signals import Draft
from rag.telling import told
from rag.timings import Stopwatch

# A server that ignores the limit of tokens is stopped when it has sent so many times as many pieces.
_PATIENCE = 2
# The same for its reasoning, which some servers do not count towards that limit.
_PATIENCE_WITH_REASONING = 8
_KEPT_REASONING = 20_000  # characters
# So many tokens lie between two looks at a running draft.
_LOOK_EVERY = 8

_One = TypeVar("_One")


@dataclass(frozen=True)
class Reply:
    """
    What a model said.

    Attributes:
        text: without surrounding whitespace.
        model: as the server reported it.
        confidence: of a draft; None where it was not judged.
        logprobs: of its tokens; None if the server gave none.
        tops: of the likeliest tokens in the place of each; None likewise.
        usage: None if the server did not count.
        cut: why it is not whole, in words; None if it is.
        tokens: how many came, counted here: one a log-probability, or one a piece where there are none.
        hopeless: whether it was stopped because its confidence was too low to go on.
        cited: a whole draft with its citations; None where it was not looked at.
        reasoning: what the model thought; None if it did not.
    """

    text: str
    model: str = ""
    confidence: Confidence | None = None
    logprobs: tuple[float, ...] | None = None
    tops: tuple[tuple[float, ...], ...] | None = None
    usage: Usage | None = None
    cut: str | None = None
    tokens: int = 0
    hopeless: bool = False
    cited: Cited | None = None
    reasoning: Reasoned | None = None


@dataclass(frozen=True)
class Task:
    """
    One question on its way through the router.

    Attributes:
        question: as asked.
        evidence: best first; not empty.
        messages: the prompt made of both.
        draft_messages: the SLM's, which may have less evidence; empty: the same.
        coverage: the share of the question's words that the best evidence has, 0 to 1.
        mode: which models may answer.
        temperature: of both models.
        min_draft_words, min_confidence: the thresholds below which a draft is not kept.
        watch: takes the times.
        chat: the escalations of its chat so far; the router adds to them.
        calibration: the weights of a draft's signals.
        small, large: what is known of both models; None: nothing.
    """

    question: str
    evidence: tuple[Evidence, ...]
    messages: Sequence[Message]
    draft_messages: Sequence[Message] = ()
    coverage: float = 1.0
    mode: Mode = "hybrid"
    temperature: float = 0.0
    min_draft_words: int = 3
    min_confidence: float = 0.60
    watch: Stopwatch = field(default_factory=Stopwatch)
    chat: Ledger = field(default_factory=Ledger)
    calibration: Calibration = SHIPPED
    small: Card | None = None
    large: Card | None = None

    def draft(self, reply: Reply) -> Draft:
        """A reply beside what it was written from."""
        return Draft(reply.text, self.question, self.evidence, self.coverage, reply.logprobs, reply.tops)


@dataclass(frozen=True)
class Look:
    """When a running draft is judged first, in tokens, and the confidence below which it is stopped."""

    first: int
    threshold: float


class Generation:
    """One model writing one reply; `reply` is complete when `run` has ended, also after a failure."""

    def __init__(
        self, backend: Backend, prefix: str, task: Task, *, clock: Callable[[], float], look: Look | None = None
    ) -> None:
        self.reply = Reply("", backend.label)
        self.failed = False
        self.waited_s: float | None = None  # from the request to its first word, or to its end without one
        self._clock = clock
        self._look = look
        self._asked: float | None = None
        self._finish_reason = ""
        self._thoughts: list[str] = []
        self._backend = backend
        self._prefix = prefix
        self._task = task

    async def run(self, messages: Sequence[Message], max_tokens: int) -> AsyncGenerator[Token | Waiting, None]:
        watch, backend = self._task.watch, self._backend
        try:
            if not backend.ready:
                async with aclosing(told(backend.start(), lambda: loading_text(backend))) as texts:
                    async for text in texts:
                        yield Waiting("model", text)
                watch.lap(f"{self._prefix}load")
            self._asked = self._clock()
            stream = backend.stream(messages, max_tokens=max_tokens, temperature=self._task.temperature)
            async with aclosing(self._tokens(stream, max_tokens)) as tokens:
                async for token in tokens:
                    yield token
        except ModelError as error:
            self.failed = True
            self._note_wait()
            self.reply = replace(self.reply, cut=str(error))
            stage = "generate" if self.reply.text else "reasoning" if self._thoughts else "send"
            watch.lap(f"{self._prefix}{stage}")
        self.reply = replace(self.reply, text=_tidy(self.reply.text), reasoning=self._reasoned())
        if not self.reply.text and not self.failed:
            self._note_wait()
            self.reply = replace(self.reply, cut=self._why_empty(max_tokens))

    async def _tokens(
        self, stream: AsyncGenerator[Piece, None], max_tokens: int
    ) -> AsyncGenerator[Token | Waiting, None]:
        watch, prefix = self._task.watch, self._prefix
        said: list[Text] = []
        next_look = self._look.first if self._look else 0
        try:
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    match piece:
                        case Opened():
                            watch.lap(f"{prefix}send")
                        case Reasoning(text=text):
                            if not self._thoughts:
                                if not text.strip():
                                    continue
                                if not said:
                                    watch.lap(f"{prefix}first_token")
                                    yield Waiting("reasoning", "Thinking …")
                            self._think(text, max_tokens)
                        case Text():
                            visible = piece.text if said else piece.text.lstrip()
                            if not visible:
                                continue
                            if not said:
                                watch.lap(f"{prefix}{'reasoning' if self._thoughts else 'first_token'}")
                                watch.saw_text()
                                self._note_wait()
                            said.append(replace(piece, text=visible, logprobs=_plausible(piece)))
                            yield Token(visible, self.reply.model)
                            if len(said) > _PATIENCE * max_tokens:
                                self._finish(Done("length", self.reply.model), max_tokens)
                                break
                            # A line or a list may rightly say the same words again; a draft of the SLM need not.
                            if not prefix and len(said) % 8 == 0 and repeats_itself(_text(said)):
                                self.reply = replace(self.reply, cut="the draft repeats itself")
                                break
                            if self._look and _count(said) >= next_look:
                                next_look = _count(said) + _LOOK_EVERY
                                if self._is_hopeless(said, self._look.threshold):
                                    break
                        case Done():
                            self._finish(piece, max_tokens)
        finally:
            self.reply = _grown(self.reply, said)
        watch.lap(f"{prefix}{'generate' if said or not self._thoughts else 'reasoning'}")

    def _think(self, text: str, max_tokens: int) -> None:
        self._thoughts.append(text)
        most = _PATIENCE_WITH_REASONING * max_tokens
        if len(self._thoughts) > most:
            raise ModelBroke(
                f"{self.reply.model} reasoned on and on and was stopped after {most:,} pieces, "
                f"{_PATIENCE_WITH_REASONING} times {self._limit}."
            )

    def _reasoned(self) -> Reasoned | None:
        text = "".join(self._thoughts).strip()
        if not text:
            return None
        stages = self._task.watch.timings().stages
        seconds = sum(stage.seconds for stage in stages if stage.name == f"{self._prefix}reasoning")
        tokens = self.reply.usage.reasoning if self.reply.usage else None
        shown = text if len(text) <= _KEPT_REASONING else f"{text[:_KEPT_REASONING]} …"
        return Reasoned(shown, self.reply.model, seconds, tokens or None)

    def _why_empty(self, max_tokens: int) -> str:
        model = self.reply.model
        if not self.reply.reasoning:
            return self.reply.cut or f"{model} gave an empty answer"
        if self._finish_reason == "length":
            return (
                f"{model} reasoned up to the limit of {max_tokens} tokens and gave no answer; a higher {self._limit} "
                "leaves room for one"
            )
        return self.reply.cut or f"{model} only reasoned and gave no answer"

    @property
    def _limit(self) -> str:
        return "RAG_LLM_MAX_TOKENS" if self._prefix else "RAG_SLM_MAX_TOKENS"

    def _note_wait(self) -> None:
        if self._asked is not None and self.waited_s is None:
            self.waited_s = self._clock() - self._asked

    def _is_hopeless(self, said: Sequence[Text], threshold: float) -> bool:
        reply = _grown(self.reply, said)
        confidence = judge(
            self._task.draft(replace(reply, text=_whole_words(reply.text))), calibration=self._task.calibration
        )
        if confidence.value >= threshold:
            return False
        cut = f"hopeless after {reply.tokens} tokens: {below(confidence.value, threshold)}"
        self.reply = replace(self.reply, confidence=confidence, cut=cut, hopeless=True)
        return True

    def _finish(self, done: Done, max_tokens: int) -> None:
        self._finish_reason = done.finish
        cut = {
            "length": f"the answer was cut at the limit of {max_tokens} tokens ({self._limit})",
            "content_filter": "cut by the server's content filter",
        }.get(done.finish)
        self.reply = replace(self.reply, model=done.model, usage=done.usage, cut=cut)


def _grown(reply: Reply, said: Sequence[Text]) -> Reply:
    logprobs = _joined([piece.logprobs for piece in said])
    tops = _joined([piece.tops for piece in said]) if logprobs else None
    return replace(reply, text=_text(said), logprobs=logprobs, tops=tops, tokens=_count(said))


def _tidy(text: str) -> str:
    # The evidence is a list, and small models copy its dash with the sentence.
    text = text.strip()
    return text[2:].lstrip() if text.startswith("- ") and "\n" not in text else text


def _whole_words(text: str) -> str:
    # The last word may be half a word, or half a number, which the evidence would not have.
    before, _, last = text.rpartition(" ")
    return text if not before or any(map(is_unspaced, last)) else before


def _text(said: Sequence[Text]) -> str:
    return "".join(piece.text for piece in said)


def _count(said: Sequence[Text]) -> int:
    return sum(len(piece.logprobs or (0,)) for piece in said)


def _joined(pieces: Sequence[tuple[_One, ...] | None]) -> tuple[_One, ...] | None:
    known = [piece for piece in pieces if piece is not None]
    return tuple(chain.from_iterable(known)) or None if len(known) == len(pieces) else None


def _plausible(piece: Text) -> tuple[float, ...] | None:
    """A piece's log-probabilities; None if there are none, or more than it has bytes."""
    new = piece.logprobs
    return new if new and len(new) <= len(piece.text.encode()) else None

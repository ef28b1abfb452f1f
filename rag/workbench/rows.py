"""One row a question: the assistant is asked, and what it said and did is kept with what is known to be right."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import MISSING, asdict, dataclass, fields, replace
from itertools import islice
from typing import Any

from rag.assistant import Assistant
from rag.backends.base import Backend, Usage
from rag.confidence import judge
from rag.errors import QuestionError
from rag.events import Answer, Answered, Retrieved
from rag.evidence import coverage, quote
from rag.meanings import Encodes
from rag.prompts import Turn
from rag.rules import Ledger
from rag.settings import Mode
from rag.signals import Draft
from rag.timings import Timings
from rag.workbench import scores
from rag.workbench.judging import judgements
from rag.workbench.questions import Key, Known, has_answer

#: The route of a question that was refused, such as one that is too long.
FAILED = "failed"
# The stages that a question to the large model alone does not have.
_OF_DRAFTING = frozenset({"prompt", "load", "send", "first_token", "reasoning", "generate", "judge"})


@dataclass(frozen=True)
class Row:
    """
    A question, its answer, and what they are worth. Names and units are those of the JSON.

    Attributes:
        question, answers, document, history, false_premise: as in the file of questions.
        answerable: whether it has an answer.
        route: as of the answer, or `failed` for a question that was refused; `reason` says why.
        reason, status, answer: as the reader sees them, with marks.
        abstained: whether the answer says that the documents do not say.
        draft: the SLM's; empty if it wrote nothing, None if it was not asked.
        stopped: whether the draft was stopped before its end; `draft` and what is said of it is of what there was.
        draft_right, answer_right, quote_right: whether the draft, the final answer, or the evidence if it were quoted
            has an answer; False for a question without one.
        f1: of the final answer, as SQuAD counts it; None for a question without an answer.
        confidence, signal: of the draft; None if it was not judged.
        signals: the parts of the confidence, by name.
        confidence_without_logprobs: what it would be from a server that gives none.
        sentences, supported, unsupported: how many sentences the answer has, with and without a citation.
        citations: the places cited, each with `number`, `document`, `start`, `end` and `quote`.
        cited: how many of its sentences cite one of them.
        cited_right: how many of those are backed by what they cite; see `scores.right_citations`.
        answer_relevancy, faithfulness, context_precision: see `scores`; None where there is nothing to measure.
        large: what the large model answered, without marks; None if it was not asked.
        large_right: whether that has an answer.
        judged: what a large model says the answer is worth, by name; see `judging`. None if none was asked.
        ttft_ms, total_ms: milliseconds, while `settings.slots` questions are answered at a time.
        tokens: `prompt` and `completion` of all models for this answer; None if a server did not count.
        usage: the same of each model, `slm` and `llm`; None there if it was not asked or its server did not count.
        large_ms: milliseconds that the question takes with the large model alone: of the whole answer less what the
            draft took, or of asking it for what the small one answered. None if it did not answer.
        large_tokens: the `prompt` and `completion` tokens of that.
    """

    question: str
    answers: list[str]
    document: str
    answerable: bool
    route: str
    reason: str | None
    status: str
    answer: str
    draft: str | None
    stopped: bool
    draft_right: bool
    answer_right: bool
    quote_right: bool
    f1: float | None
    confidence: float | None
    signal: str | None
    signals: dict[str, float]
    unsupported: int
    citations: list[dict[str, Any]]
    ttft_ms: float | None
    total_ms: float
    tokens: dict[str, int] | None
    history: list[str]
    false_premise: bool
    abstained: bool
    confidence_without_logprobs: float | None
    sentences: int
    cited: int
    cited_right: int
    answer_relevancy: float | None
    faithfulness: float | None
    context_precision: float | None
    large: str | None
    large_right: bool | None
    judged: dict[str, float | None] | None = None
    usage: dict[str, dict[str, int] | None] | None = None
    large_ms: float | None = None
    large_tokens: dict[str, int] | None = None

    @property
    def key(self) -> Key:
        """What tells its question from the others."""
        return self.question, tuple(self.history), self.document, tuple(self.answers)

    @property
    def known(self) -> Known:
        """Its question, as the file of questions has it."""
        return Known(self.question, tuple(self.answers), self.document, tuple(self.history), self.false_premise)

    def to_json(self) -> dict[str, Any]:
        """As a line of a trace has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Any) -> Row:
        """
        What `to_json` gave. Further names are passed over.

        Raises:
            ValueError: a name is missing, or nothing like a row is there.
        """
        names = [one.name for one in fields(cls)]
        needed = [one.name for one in fields(cls) if one.default is MISSING]
        missing = [name for name in needed if name not in found] if isinstance(found, dict) else needed
        if missing:
            raise ValueError(f"a row must have {', '.join(missing)}")
        row = cls(**{name: found[name] for name in names if name in found})
        texts = (row.question, row.route, row.answer)
        if not all(isinstance(text, str) for text in texts) or not isinstance(row.signals, dict):
            raise ValueError("a row must have texts for question, route and answer, and an object for signals")
        return row


async def collect(
    assistant: Assistant,
    known: Iterable[Known],
    *,
    mode: Mode | None = None,
    ask_large: bool = False,
    encoder: Encodes | None = None,
    judge: Backend | None = None,
) -> AsyncGenerator[Row, None]:
    """
    Ask questions, as many at a time as the settings have slots, and yield a row as each is answered.

    Earlier questions of the same conversation are asked first, for their answers; what they cost is not counted.
    Closing the iterator stops the models.

    Args:
        assistant: started.
        known: the questions; taken one by one.
        mode: as of `Assistant.ask`.
        ask_large: also ask the large model what it did not get to answer, to see what escalating would have gained.
        encoder: for `answer_relevancy`; None: it is not measured.
        judge: the model that grades each answer; None: none does.

    Raises:
        RagError: what no further question would survive: no documents, no search server, no large model in mode `llm`.
    """
    waiting = iter(known)
    running: set[asyncio.Task[Row]] = set()
    try:
        while True:
            for one in islice(waiting, assistant.settings.slots - len(running)):
                running.add(asyncio.create_task(_row(assistant, one, mode, ask_large, encoder, judge)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            # What was answered is kept before what went wrong ends it all.
            for task in sorted(done, key=lambda task: task.exception() is not None):
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _row(
    assistant: Assistant,
    known: Known,
    mode: Mode | None,
    ask_large: bool,
    encoder: Encodes | None,
    judge: Backend | None,
) -> Row:
    turns: list[Turn] = []
    chat = Ledger()
    try:
        for earlier in known.history:
            answer, _ = await _answered(assistant, earlier, turns, mode, chat)
            if answer.remembered and answer.status == "complete":  # as the chat does
                turns.append(Turn(earlier, answer.remembered))
        answer, retrieved = await _answered(assistant, known.question, turns, mode, chat)
    except QuestionError as error:
        return _failed(known, str(error))
    large = answer if answer.route in ("llm", "escalated", "refined") else None
    if ask_large and answer.route == "slm":
        large_answer, _ = await _answered(assistant, known.question, turns, "llm", Ledger())
        large = large_answer if large_answer.route == "llm" else None
    row = await asyncio.to_thread(_scored, known, answer, retrieved, large, encoder)
    if judge is None:
        return row
    return replace(row, judged=await judgements(judge, known.question, answer.plain, retrieved.evidence))


async def _answered(
    assistant: Assistant, question: str, history: list[Turn], mode: Mode | None, chat: Ledger
) -> tuple[Answer, Retrieved]:
    async with aclosing(assistant.ask(question, history=history, mode=mode, chat=chat)) as events:
        async for event in events:
            match event:
                case Retrieved():
                    retrieved = event
                case Answered(answer=answer):
                    return answer, retrieved
    raise AssertionError("an answer ends every question")


def _scored(
    known: Known, answer: Answer, retrieved: Retrieved, large_answer: Answer | None, encoder: Encodes | None
) -> Row:
    evidence, plain = retrieved.evidence, answer.plain
    draft = _draft_of(answer)
    abstained = scores.abstains(answer, known.answers)
    found = [] if abstained else scores.claims(answer)  # who says that the documents do not say claims nothing
    answerable = bool(known.answers)
    confidence = answer.confidence
    language = evidence[0].chunk.language if evidence else ""
    large = large_answer.plain if large_answer else None
    alone = large_answer if large_answer and large_answer.route != "refined" else None  # it had a draft to polish
    return Row(
        question=known.question,
        answers=list(known.answers),
        document=known.document,
        answerable=answerable,
        route=answer.route,
        reason=answer.reason,
        status=answer.status,
        answer=answer.text,
        draft=draft,
        stopped=bool(answer.verdict and answer.verdict.stopped),
        draft_right=has_answer(draft or "", known.answers),
        answer_right=has_answer(plain, known.answers),
        quote_right=has_answer(" ".join(one.evidence.text for one in quote(retrieved.quotes).citations), known.answers),
        f1=scores.token_f1(plain, known.answers) if answerable else None,
        confidence=_number(confidence.value) if confidence else None,
        signal=confidence.signal if confidence else None,
        signals={
            part.name: float(part.value) for part in getattr(confidence, "parts", ()) if math.isfinite(part.value)
        },
        unsupported=answer.unsupported,
        citations=[
            {
                "number": one.number,
                "document": one.evidence.chunk.document,
                "start": one.evidence.start,
                "end": one.evidence.end,
                "quote": one.evidence.quote,
            }
            for one in answer.citations
        ],
        ttft_ms=None if answer.timings.ttft_s is None else round(answer.timings.ttft_s * 1000, 2),
        total_ms=round(answer.timings.total_s * 1000, 2),
        tokens=_tokens(answer),
        history=list(known.history),
        false_premise=known.false_premise,
        abstained=abstained,
        confidence_without_logprobs=_measured(lambda: _without_logprobs(known.question, draft, retrieved)),
        sentences=len(found),
        cited=sum(one.evidence is not None for one in found),
        cited_right=scores.right_citations(found),
        answer_relevancy=_measured(
            lambda: scores.answer_relevancy(
                known.question, plain, abstained=abstained, answerable=answerable, language=language, encoder=encoder
            )
        ),
        faithfulness=_measured(lambda: scores.faithfulness(found, (*evidence, *retrieved.quotes))),
        context_precision=_measured(lambda: scores.context_precision(evidence, known.answers, known.document)),
        large=large,
        large_right=None if large is None else has_answer(large, known.answers),
        usage={"slm": _counted(answer.usage_slm), "llm": _counted(answer.usage_llm)},
        large_ms=round(_without_draft_s(alone.timings) * 1000, 2) if alone else None,
        large_tokens=_counted(alone.usage_llm) if alone else None,
    )


def _without_draft_s(timings: Timings) -> float:
    return sum(stage.seconds for stage in timings.stages if stage.name not in _OF_DRAFTING)


def _counted(usage: Usage | None) -> dict[str, int] | None:
    return {"prompt": usage.prompt, "completion": usage.completion} if usage else None


def _draft_of(answer: Answer) -> str | None:
    if answer.draft is not None:
        return answer.draft
    if answer.route == "slm":
        return answer.plain  # it was kept
    return "" if answer.slm else None


def _without_logprobs(question: str, draft: str | None, retrieved: Retrieved) -> float | None:
    if not draft:
        return None
    query, shelf = retrieved.query, retrieved.shelf
    share = coverage(query.text, retrieved.evidence, weight=query.weighing(shelf.weight, words=shelf.index.words))
    return judge(Draft(draft, question, retrieved.evidence, share)).value


def _tokens(answer: Answer) -> dict[str, int] | None:
    asked = [bool(answer.slm), bool(answer.llm)]
    counted = [usage for usage in (answer.usage_slm, answer.usage_llm) if usage]
    if len(counted) < sum(asked):
        return None
    return {
        "prompt": sum(usage.prompt for usage in counted),
        "completion": sum(usage.completion for usage in counted),
    }


def _measured(measure: Callable[[], float | None]) -> float | None:
    # One figure that cannot be made must not cost the answer, which may have taken a minute.
    try:
        return _number(measure())
    except Exception:
        return None


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _failed(known: Known, reason: str) -> Row:
    return Row(
        question=known.question,
        answers=list(known.answers),
        document=known.document,
        answerable=bool(known.answers),
        route=FAILED,
        reason=reason,
        status="partial",
        answer="",
        draft=None,
        stopped=False,
        draft_right=False,
        answer_right=False,
        quote_right=False,
        f1=0.0 if known.answers else None,
        confidence=None,
        signal=None,
        signals={},
        unsupported=0,
        citations=[],
        ttft_ms=None,
        total_ms=0.0,
        tokens=None,
        history=list(known.history),
        false_premise=known.false_premise,
        abstained=False,
        confidence_without_logprobs=None,
        sentences=0,
        cited=0,
        cited_right=0,
        answer_relevancy=None,
        faithfulness=None,
        context_precision=None,
        large=None,
        large_right=None,
    )

"""The one place where the parts meet: a question goes in, typed events come out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace

from rag.backends.base import Backend, Usage
from rag.backends.choose import Models, choose_models
from rag.backends.openai_compatible import OpenAICompatible
from rag.calibration import SHIPPED, calibration_for
from rag.documents import Document
from rag.errors import DocumentsError, ModelError, QuestionError
from rag.events import Answer, Answered, Cost, Event, Retrieved, Waiting
from rag.evidence import Cited, Evidence, bearing, cite, coverage, is_near, quotable, quote, within
from rag.followup import standalone
from rag.generation import Reply, Task
from rag.library import PATIENCE_S, Library
from rag.prompts import Turn, build_messages
from rag.qdrant import Followed
from rag.router import HybridRouter, Routed
from rag.rules import Ledger, Rules, weak_evidence
from rag.settings import Mode, Settings
from rag.shelf import Shelf
from rag.text import words
from rag.timings import Stopwatch
from rag.waitlist import Waitlist

log = logging.getLogger(__name__)

_PAST_ANSWER_WORDS = 60


@dataclass(frozen=True)
class Knobs:
    """
    What a reader may turn for each question.

    Attributes:
        k: how many chunks are searched for evidence; at least 1.
        evidence_tokens: the budget for evidence in the prompt, in estimated tokens.
        temperature: of the models.
        min_draft_words, min_confidence: the thresholds below which a draft is not kept.
    """

    k: int = 4
    evidence_tokens: int = 100
    temperature: float = 0.0
    min_draft_words: int = 3
    min_confidence: float = 0.60


class Assistant:
    """
    Answers questions from the library with the router's models.

    Args:
        library: the documents.
        settings: limits, prices and defaults.
        models: the models to use; None: find them at `start`, as the settings say.

    Attributes:
        knobs: the defaults for each question.
        models: None until they are found.
        calibration: the weights of a draft's signals.
        calibration_fault: why they are not the user's, in words; empty if nothing is wrong.
    """

    def __init__(self, library: Library, settings: Settings, *, models: Models | None = None) -> None:
        self.library = library
        self.settings = settings
        self.models = models
        self._model_faults: list[str] = []
        self.knobs = Knobs(
            settings.k,
            settings.evidence_tokens,
            settings.temperature,
            settings.min_draft_words,
            settings.min_confidence,
        )
        self._waitlist = Waitlist(settings.slots, limit=settings.queue_limit)
        library.busy = lambda: self._waitlist.in_use
        self._router: HybridRouter | None = None
        self._ledger = Ledger()
        self.calibration = SHIPPED
        self.calibration_fault = ""
        self._retired: list[Backend] = []
        self._starting: asyncio.Task[None] | None = None

    @property
    def faults(self) -> list[str]:
        """What is wrong with the documents now, or was wrong with the models at start, in words fit for the page."""
        documents = [self.library.shelf.fault] if self.library.shelf.fault and self.started else []
        return documents + self._model_faults

    @property
    def started(self) -> bool:
        """Whether documents and models have been read and found, or given up."""
        return self._starting is not None and self._starting.done()

    async def start(self) -> None:
        """Read the documents and load the SLM, side by side. Faults are noted, not raised: the chat opens anyway."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def look_again(self) -> None:
        """See whether servers that were at fault, and documents that changed, are well by now."""
        await self.library.refresh(patience=PATIENCE_S)
        if not self._model_faults or self.models is None:
            return
        faults = []
        for backend in self._backends():
            if backend is self.models.llm and not isinstance(backend, OpenAICompatible):
                continue  # a file of ours, loaded on first need and not for a look
            try:
                await backend.start()
            except ModelError as error:
                faults.append(str(error))
        if not faults and self.models.llm is None and isinstance(self.models.slm, OpenAICompatible):
            # Its server may list a large model too; the idle client that it replaces is closed at the end.
            self._retired.append(self.models.slm)
            self.models = await choose_models(self.settings)
            faults = list(self.models.faults)
        self._model_faults = faults
        self._calibrate(self.models.slm.label)
        self._router = self._new_router(self.models)

    async def stop(self) -> None:
        """End what `start` began and free the models."""
        if self._starting:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        for backend in [*self._backends(), *self._retired]:
            await backend.stop()
        await self.library.close()

    async def ask(
        self,
        question: str,
        *,
        history: Sequence[Turn] = (),
        uploads: Sequence[Document] = (),
        mode: Mode | None = None,
        knobs: Knobs | None = None,
        watch: Stopwatch | None = None,
        chat: Ledger | None = None,
    ) -> AsyncGenerator[Event, None]:
        """
        Answer a question.

        Args:
            question: in plain text.
            history: earlier turns of the conversation, oldest first.
            uploads: the conversation's own documents.
            mode: which models may answer; None: as the settings say.
            knobs: other values than the default ones.
            watch: takes the times, for a caller who wants them of an answer that does not end; started by now.
            chat: the escalations of the conversation so far, which grow by this one; None: it has had none.

        Yields:
            `Waiting` while nothing can happen, then `Retrieved`, `Token`s, at most one `Escalated` and more
            `Token`s, and exactly one `Answered`. Closing the iterator stops the model.

        Raises:
            QuestionError: the question is empty or too long.
            Busy: too many questions are waiting.
            DocumentsError: there are no documents.
            ModelUnavailable: mode `llm` without a large model.
        """
        watch = watch or Stopwatch()
        question = self._checked(question)
        async with aclosing(self._wait(watch)) as waiting:
            async for event in waiting:
                yield event
        try:
            async with aclosing(
                self._answer(
                    question,
                    history,
                    uploads,
                    mode or self.settings.mode,
                    knobs or self.knobs,
                    watch,
                    chat or Ledger(),
                )
            ) as events:
                async for answered in events:
                    yield answered
        finally:
            self._waitlist.leave()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the slots that answers share, for other work of the models. Raises `Busy`."""
        async with aclosing(self._waitlist.wait()) as places:
            async for _ in places:
                pass
        try:
            yield
        finally:
            self._waitlist.leave()

    async def _wait(self, watch: Stopwatch) -> AsyncGenerator[Event, None]:
        if not self.started:
            yield Waiting("model", f"Starting: {self.library.progress or 'reading the documents'}, loading the model …")
            await self.start()
            watch.lap("load")
        waited = False
        async with aclosing(self._waitlist.wait()) as places:
            async for place in places:
                waited = True
                yield Waiting("queue", f"All slots are busy. Your place in the queue: {place}")
        if waited:
            watch.lap("queue")

    async def _answer(
        self,
        question: str,
        history: Sequence[Turn],
        uploads: Sequence[Document],
        mode: Mode,
        knobs: Knobs,
        watch: Stopwatch,
        chat: Ledger,
    ) -> AsyncGenerator[Event, None]:
        if not self.library.shelf.documents:
            await self.library.refresh(patience=PATIENCE_S)
        shelf = await asyncio.to_thread(self.library.with_uploads, uploads)  # one state for the whole answer
        if not shelf.documents:
            raise DocumentsError(shelf.fault or "There are no documents.")
        query, _ = await asyncio.gather(
            asyncio.to_thread(standalone, question, history, weight=shelf.weight),
            asyncio.to_thread(shelf.think_of, question),
        )
        watch.lap("rewrite")
        hits = await asyncio.to_thread(shelf.search, query.text, k=knobs.k)
        watch.lap("search")
        weight = query.weighing(shelf.weight, words=shelf.index.words)
        found = await asyncio.to_thread(bearing, query.text, hits, weight=weight)
        evidence, quotes = within(found, knobs.evidence_tokens), quotable(found)
        share = await asyncio.to_thread(coverage, query.text, evidence, weight=weight)
        watch.lap("evidence")
        yield Retrieved(tuple(hits), evidence, quotes, query, shelf)
        if not evidence or (share < self.settings.min_coverage and not is_near(hits)):
            abstention = await self._abstention(query.text, shelf, evidence, share, watch)
            yield Answered(replace(abstention, query=query))
            return
        recent = self._recent(history)
        messages = build_messages(question, evidence, recent)
        most = self.models.most_sentences if self.models else None
        draft_messages = build_messages(question, evidence[:most], recent) if most else messages
        watch.lap("llm_prompt" if mode == "llm" else "prompt")
        task = Task(
            question,
            evidence,
            messages,
            draft_messages,
            share,
            mode,
            knobs.temperature,
            knobs.min_draft_words,
            knobs.min_confidence,
            watch,
            chat,
            self.calibration,
        )
        if self._router is None:
            nobody = Routed("quoted", " ".join(self._model_faults), Reply(""))
            yield Answered(replace(await self._finished(nobody, task, quotes), query=query))
            return
        async with aclosing(self._router.answer(task)) as routed:
            async for event in routed:
                if isinstance(event, Routed):
                    yield Answered(replace(await self._finished(event, task, quotes), query=query))
                else:
                    yield event

    async def _finished(self, routed: Routed, task: Task, quotes: Sequence[Evidence]) -> Answer:
        asked_llm = any(stage.name.startswith("llm_") for stage in task.watch.timings().stages)
        task.watch.saw_text()
        if routed.route == "quoted":
            cited = _quotation(quotes, "The documents say:")
        elif routed.route == "abstained":
            cited = _quotation(quotes, "The documents do not say. This comes nearest:")
        else:
            known = routed.final.cited
            cited = known if known else await asyncio.to_thread(cite, routed.final.text, task.evidence)
        task.watch.lap("llm_judge" if asked_llm else "judge")
        draft = routed.draft
        replaced = draft if draft is not None and draft is not routed.final and draft.text else None
        usage_slm = draft.usage if draft else None
        usage_llm = routed.final.usage if routed.final is not draft else None
        return Answer(
            text=cited.text,
            model="" if routed.route in ("quoted", "abstained") else routed.final.model,
            route=routed.route,
            status=routed.status,
            reason=routed.reason,
            confidence=draft.confidence if draft else None,
            citations=cited.citations,
            unsupported=cited.unsupported,
            usage_slm=usage_slm,
            usage_llm=usage_llm,
            timings=task.watch.timings(),
            cost=self._cost(*([usage_slm] if draft else []), *([usage_llm] if asked_llm else [])),
            draft=replaced.text if replaced else None,
            slm=draft.model if draft else "",
            llm=(routed.final.model if routed.final is not draft else self._llm_label()) if asked_llm else "",
            verdict=routed.verdict,
        )

    async def _abstention(
        self, question: str, shelf: Shelf, evidence: Sequence[Evidence], share: float, watch: Stopwatch
    ) -> Answer:
        if not words(question):
            why = "the question has no word to search for"
        elif not evidence:
            why = "no document shares a word with the question"
        else:
            why = weak_evidence(share, self.settings.min_coverage)
        names = [f"`{name}`" for name in await asyncio.to_thread(shelf.nearest, question)]
        text = f"The documents do not say. The nearest ones are: {', '.join(names)}."
        watch.saw_text()
        watch.lap("evidence")
        return Answer(
            text=text,
            model="",
            route="abstained",
            status="complete",
            reason=why,
            confidence=None,
            citations=(),
            unsupported=0,
            usage_slm=None,
            usage_llm=None,
            timings=watch.timings(),
            cost=Cost(cloud_equivalent=0.0),
        )

    def _checked(self, question: str) -> str:
        question = question.strip()
        limit = self.settings.max_question_chars
        if not question:
            raise QuestionError("The question is empty. Please type one.")
        if len(question) > limit:
            raise QuestionError(
                f"The question has {len(question):,} characters; the limit is {limit:,} "
                "(RAG_MAX_QUESTION_CHARS). Please shorten it."
            )
        return question

    def _recent(self, history: Sequence[Turn]) -> list[Turn]:
        recent = list(history)[-self.settings.history_turns :] if self.settings.history_turns else []
        return [replace(turn, answer=" ".join(turn.answer.split()[:_PAST_ANSWER_WORDS])) for turn in recent]

    def _cost(self, *usages: Usage | None) -> Cost:
        price_in, price_out = self.settings.cloud_price_in, self.settings.cloud_price_out
        counted = [usage for usage in usages if usage]
        if not counted or len(counted) < len(usages) or price_in is None or price_out is None:
            return Cost()
        dollars = sum(usage.prompt * price_in + usage.completion * price_out for usage in counted) / 1e6
        return Cost(cloud_equivalent=round(dollars, 8))

    async def _start(self) -> None:
        await asyncio.gather(self._load_documents(), self._load_models())

    async def _load_documents(self) -> None:
        try:
            await self.library.refresh()
        except Exception:
            log.exception("the documents could not be read")
            self._model_faults.append("The documents could not be read; the log of the chat says why.")
        for file in self.library.shelf.skipped:
            log.warning("left out: %r: %s", file.name, file.reason)

    async def _load_models(self) -> None:
        try:
            self.models = self.models or await choose_models(self.settings)
            self._model_faults += self.models.faults
            self._router = self._new_router(self.models)
            self._calibrate(self.models.slm.label)
            if not self.models.slm.ready:
                await self.models.slm.start()
        except ModelError as error:
            log.warning("%s", error)
            self._model_faults.append(str(error))
        except Exception:
            log.exception("the models could not be set up")
            self._model_faults.append("The models could not be set up; the log of the chat says why.")

    def _calibrate(self, model: str) -> None:
        chosen = self.settings.model_fields_set
        self.calibration, self.calibration_fault = calibration_for(
            model, self.settings.calibration, wanted="calibration" in chosen
        )
        if self.calibration_fault:
            log.warning("the shipped weights are used: %s", self.calibration_fault)
        fitted = None if "min_confidence" in chosen else self.calibration.threshold
        self.knobs = replace(self.knobs, min_confidence=self.settings.min_confidence if fitted is None else fitted)

    def _new_router(self, models: Models) -> HybridRouter:
        return HybridRouter(
            models.slm,
            models.llm,
            slm_max_tokens=self.settings.slm_max_tokens,
            llm_max_tokens=self.settings.llm_max_tokens,
            refine_over_chars=self.settings.refine_over_chars,
            refine_topics=self.settings.refine_topics,
            rules=_rules(self.settings),
            ledger=self._ledger,
        )

    def _llm_label(self) -> str:
        return self.models.llm.label if self.models and self.models.llm else ""

    def _backends(self) -> list[Backend]:
        if self.models is None:
            return []
        return [backend for backend in (self.models.slm, self.models.llm) if backend]


def build_assistant(settings: Settings, *, models: Models | None = None) -> Assistant:
    """Put an assistant together from settings; `start` it before the first question, `stop` it after the last."""
    return Assistant(build_library(settings), settings, models=models)


def build_library(settings: Settings) -> Library:
    """The library that settings ask for; `refresh` it before the first search, `close` it after the last."""
    return Library(
        settings.docs_dir,
        inline=settings.documents,
        chunk_words=settings.chunk_words,
        language=settings.language,
        save_to=settings.index_dir,
        followed=_followed(settings),
        by_meaning=settings.by_meaning,
    )


def _followed(settings: Settings) -> Followed | None:
    if settings.index != "qdrant" or not settings.qdrant_url:
        return None
    return Followed(
        settings.qdrant_url,
        settings.qdrant_collection,
        chunk_words=settings.chunk_words,
        api_key=settings.qdrant_api_key,
    )


def _rules(settings: Settings) -> Rules:
    return Rules(
        escalate=settings.escalate,
        topics=tuple(settings.escalate_topics),
        weak_coverage=settings.weak_coverage,
        early_tokens=settings.early_tokens,
        early_confidence=settings.early_confidence,
        per_minute=settings.escalations_per_minute,
        per_chat=settings.escalations_per_chat,
        ttft_budget_s=settings.llm_ttft_budget_ms / 1000,
    )


def _quotation(quotes: Sequence[Evidence], opening: str) -> Cited:
    cited = quote(quotes)
    return replace(cited, text=f"**{opening}**\n\n{cited.text}")

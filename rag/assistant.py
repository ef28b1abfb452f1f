"""The one place where the parts meet: a question goes in, typed events come out."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

from rag.backends.base import Backend, is_ours
from rag.backends.choose import Models, choose_models
from rag.backends.custom import limit
from rag.backends.embedded import Embedded
from rag.backends.openai_compatible import OpenAICompatible
from rag.calibration import SHIPPED, calibration_for
from rag.cards import Capability, Card, Cards, wanted_by
from rag.composing import Prices, abstain, compose
from rag.costs import Price
from rag.documents import Document
from rag.errors import DocumentsError, ModelError, QuestionError
from rag.events import Answer, Answered, Event, Retrieved, Waiting
from rag.evidence import Evidence, bearing, coverage, is_enough, quotable, within
from rag.followup import standalone
from rag.generation import Reply, Task
from rag.journal import Journal, open_journal
from rag.library import PATIENCE_S, Library
from rag.prompts import Turn, build_messages
from rag.qdrant import Followed
from rag.router import HybridRouter, Routed
from rag.rules import Ledger, Rules
from rag.settings import Mode, Settings
from rag.steps import Asked, entry_of
from rag.telling import told
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
        journal: is told of every answer, and closed at `stop`; None: nobody is.

    Attributes:
        knobs: the defaults for each question.
        models: None until they are found.
        cards: what is known of models by their names.
        calibration: the weights of a draft's signals.
        calibration_fault: why they are not the user's, in words; empty if nothing is wrong.
    """

    def __init__(
        self, library: Library, settings: Settings, *, models: Models | None = None, journal: Journal | None = None
    ) -> None:
        self._journal = journal
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
        self.cards = Cards(settings.models_file, wanted="models_file" in settings.model_fields_set)
        self.calibration = SHIPPED
        self.calibration_fault = ""
        self._retired: list[Backend] = []
        self._looking = asyncio.Lock()
        self._starting: asyncio.Task[None] | None = None

    @property
    def faults(self) -> list[str]:
        """What is wrong with the documents now, or was wrong with the models at start, in words fit for the page."""
        documents = [self.library.shelf.fault] if self.library.shelf.fault and self.started else []
        return documents + self._model_faults + ([self.cards.fault] if self.cards.fault else [])

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
        await asyncio.to_thread(self.cards.refresh)
        async with self._looking:
            if self.models and set(self._model_faults) - set(self.models.lasting):
                await self._look_at_models(self.models)

    async def _look_at_models(self, models: Models) -> None:
        faults = []
        for backend in self._backends():
            if backend is models.llm and not isinstance(backend, OpenAICompatible):
                continue  # a file of ours, loaded on first need and not for a look
            try:
                await backend.start()
            except ModelError as error:
                faults.append(str(error))
        wanting = models.llm is None or set(models.faults) - set(models.lasting)
        if not faults and wanting and self.settings.foundry != "embed":
            # A server may have a large model too, or the small one by now; what is replaced is closed at the end.
            again = await choose_models(self.settings)
            faults = list(again.faults)
            if isinstance(again.slm, Embedded) and isinstance(models.slm, Embedded):
                again = replace(again, slm=models.slm, llm=models.llm or again.llm)  # which is loaded
            kept = (again.slm, again.llm)
            self._retired += [backend for backend in self._backends() if backend not in kept]
            self._take(again)
        self._model_faults = [*dict.fromkeys((*models.lasting, *faults))]
        if self.models:
            self._calibrate(self.models.slm.label)

    def _take(self, models: Models) -> None:
        self.models = models
        if "slots" not in self.settings.model_fields_set:
            self._waitlist.resize(models.at_once or self.settings.slots)
        self._router = self._new_router(models)

    async def stop(self) -> None:
        """End what `start` began and free the models."""
        if self._starting:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        for backend in [*self._backends(), *self._retired]:
            await backend.stop()
        await self.library.close()
        if self._journal:
            await asyncio.to_thread(self._journal.close)

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
        mode, answer = mode or self.settings.mode, None
        try:
            async with aclosing(
                self._answer(
                    question,
                    history,
                    uploads,
                    mode,
                    knobs or self.knobs,
                    watch,
                    chat or Ledger(),
                )
            ) as events:
                async for answered in events:
                    answer = answered.answer if isinstance(answered, Answered) else None
                    yield answered
        finally:
            self._waitlist.leave()
            if self._journal:
                failed = isinstance(sys.exception(), Exception)
                self._note(self._journal, answer, mode, wanted_by(question), watch, failed=failed)

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
            async with aclosing(told(self.start(), self._starting_text)) as texts:
                async for text in texts:
                    yield Waiting("model", text)
            watch.lap("load")
        waited = False
        async with aclosing(self._waitlist.wait()) as places:
            async for place in places:
                waited = True
                yield Waiting("queue", f"All slots are busy. Your place in the queue: {place}")
        if waited:
            watch.lap("queue")

    def _starting_text(self) -> str:
        loading = getattr(self.models.slm, "loading", "") if self.models else ""
        return f"Starting: {self.library.progress or 'reading the documents'}. {loading or 'Loading the model …'}"

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
        await asyncio.to_thread(self.cards.refresh)
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
        if not is_enough(evidence, share, hits, min_coverage=self.settings.min_coverage):
            abstention = await abstain(
                query.text, shelf, evidence, share, watch, min_coverage=self.settings.min_coverage
            )
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
            self._card("slm"),
            self._card("llm"),
        )
        if self._router is None:
            nobody = Routed("quoted", " ".join(self._model_faults), Reply(""))
            yield Answered(replace(await self._composed(nobody, task, quotes), query=query))
            return
        async with aclosing(self._router.answer(task)) as routed:
            async for event in routed:
                if isinstance(event, Routed):
                    yield Answered(replace(await self._composed(event, task, quotes), query=query))
                else:
                    yield event

    async def _composed(self, routed: Routed, task: Task, quotes: Sequence[Evidence]) -> Answer:
        cloud = Price(self.settings.cloud_price_in, self.settings.cloud_price_out)
        prices = Prices(self._price("slm"), self._price("llm"), cloud)
        return await compose(routed, task, quotes, prices=prices, llm=self._llm_label())

    def _note(
        self, journal: Journal, answer: Answer | None, mode: Mode, intent: Capability, watch: Stopwatch, *, failed: bool
    ) -> None:
        slm, llm = (self.models.slm, self.models.llm) if self.models else (None, None)
        stages, elapsed_s = watch.timings().stages, watch.elapsed_s()
        when = time.time() - elapsed_s
        if answer:  # what the page did with it since is no time of ours
            stages, elapsed_s = answer.timings.stages, answer.timings.total_s
        asked = {"slm": Asked.of(slm), "llm": Asked.of(llm)}
        entry = entry_of(
            answer, stages, elapsed_s=elapsed_s, when=when, mode=mode, intent=intent, failed=failed, **asked
        )
        journal.note(entry)

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

    def _card(self, role: Literal["slm", "llm"]) -> Card | None:
        backend = getattr(self.models, role) if self.models else None
        return self.cards.of(backend.label) if backend else None

    def _price(self, role: Literal["slm", "llm"]) -> Price | None:
        backend = getattr(self.models, role) if self.models else None
        if backend is None or is_ours(backend):
            return None
        card = self.cards.of(backend.label)
        own_in, own_out = (getattr(self.settings, f"{role}_price_{way}") for way in ("in", "out"))
        listed_in, listed_out = (card.price_in, card.price_out) if card else (None, None)
        return Price(listed_in if own_in is None else own_in, listed_out if own_out is None else own_out)

    async def _start(self) -> None:
        await asyncio.gather(self._load_documents(), self._load_models(), asyncio.to_thread(self.cards.refresh))

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
            models = self.models or await choose_models(self.settings)
            self._model_faults += models.faults
            self._take(models)
            try:
                if not models.slm.ready:
                    await models.slm.start()
            finally:
                self._calibrate(models.slm.label)  # an alias has become the name of what answers
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
        waits = {"first_text_s": self.settings.first_text_s, "between_texts_s": self.settings.between_texts_s}
        limit((models.slm, models.llm), **waits)
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
    journal = open_journal(settings.trace)
    return Assistant(build_library(settings), settings, models=models, journal=journal)


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

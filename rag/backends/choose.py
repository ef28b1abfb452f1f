"""Which models answer: the ladder from the settings down to the embedded model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rag.backends.base import Backend
from rag.backends.custom import load_backend
from rag.backends.embedded import Embedded
from rag.backends.foundry import Service, find_service, gone
from rag.backends.foundry_local import FoundryLocal
from rag.backends.foundry_runtime import FoundryRuntime
from rag.backends.openai_compatible import Deadlines, OpenAICompatible, resolve_model
from rag.errors import ModelError, ModelRefused
from rag.settings import Settings

# The embedded model's drafts have the answer for 51 % of the answerable SQuAD questions with the best sentence alone,
# for 38 % with all of the budget; see benchmarks/prompts.py.
_EMBEDDED_SENTENCES = 1


@dataclass(frozen=True)
class Models:
    """
    The models of one run.

    Attributes:
        slm: drafts.
        llm: answers what the SLM cannot; None if there is none.
        no_llm: why there is no LLM and how to get one, in words; empty if there is one.
        faults: what is wrong with the servers that were configured, in words.
        most_sentences: how many sentences of evidence the SLM can read without being led astray; None: all there are.
        at_once: how many questions its server can answer at the same time; None: as many as are asked.
    """

    slm: Backend
    llm: Backend | None
    no_llm: str = ""
    faults: tuple[str, ...] = ()
    most_sentences: int | None = None
    at_once: int | None = None


async def choose_models(settings: Settings) -> Models:
    """
    Find the SLM and the LLM.

    The SLM: a backend of the user's own, a URL or a file in the settings, Foundry Local (where
    `FOUNDRY_LOCAL_ENDPOINT` says, or found on this machine, or its runtime in this process), else the embedded model.
    The LLM: the first three in its settings, else Foundry Local or the SLM's server if it lists it, else none.
    A configured server that does not answer is kept, with a fault: it may come up later.

    Raises:
        ModelError: the backend of the user's own for the SLM cannot be made.
    """
    models = await _choose(settings)
    own = isinstance(models.slm, Embedded) and settings.slm_gguf is None
    return replace(
        models,
        most_sentences=settings.draft_sentences or (_EMBEDDED_SENTENCES if own else None),
        at_once=1 if isinstance(models.slm, FoundryLocal) else None,
    )


async def _choose(settings: Settings) -> Models:
    faults: list[str] = []
    foundry = await _Foundry.of(settings)
    slm = await _choose_slm(settings, foundry, faults)
    if settings.llm_backend:
        try:
            own = await _custom(settings.llm_backend, "LLM", faults)
        except ModelError as error:
            return Models(slm, None, str(error), (*faults, str(error)))
        return Models(slm, own, faults=tuple(faults))
    if settings.llm_url:
        large = _server(settings, settings.llm_url, "llm")
        await _greet(large, faults)
        return Models(slm, large, faults=tuple(faults))
    if settings.llm_gguf:
        return Models(slm, _embedded(settings, settings.llm_gguf, "LLM", settings.llm_idle_s), faults=tuple(faults))
    if foundry and (large_one := await foundry.large()):
        return Models(slm, large_one, faults=tuple(faults))
    if isinstance(slm, OpenAICompatible) and not faults:
        listed = resolve_model(settings.llm_model, await _listed(slm), only_one_will_do=False)
        if listed:
            same_server = settings.model_copy(update={"llm_model": listed, "llm_api_key": settings.slm_api_key})
            return Models(slm, _server(same_server, slm.url, "llm", slm.where))
    why = f"There is no large model: set RAG_LLM_URL to a server that has {settings.llm_model}, or RAG_LLM_GGUF."
    return Models(slm, None, why, tuple(faults))


async def _choose_slm(settings: Settings, foundry: _Foundry | None, faults: list[str]) -> Backend:
    if settings.slm_backend:
        return await _custom(settings.slm_backend, "SLM", faults)
    if settings.slm_gguf:
        return _embedded(settings, settings.slm_gguf)
    if settings.slm_url:
        small = _server(settings, settings.slm_url, "slm")
        await _greet(small, faults)
        return small
    if foundry is None:
        return _embedded(settings, None)
    if foundry.found is None and foundry.runtime is None:
        faults.append(str(gone(settings.foundry_local_endpoint or "")))
    elif lacking := await foundry.lacks_small():
        faults.append(lacking)
        return _embedded(settings, None)
    return foundry.model("slm")


@dataclass(frozen=True)
class _Foundry:
    """Foundry Local as the settings want it: a service that was found, or the runtime in this process."""

    settings: Settings
    found: Service | None
    runtime: FoundryRuntime | None

    @classmethod
    async def of(cls, settings: Settings) -> _Foundry | None:
        """None where it is not wanted, or where none was found and none was configured."""
        other_small = settings.slm_backend or settings.slm_gguf or settings.slm_url
        other_large = settings.llm_backend or settings.llm_gguf or settings.llm_url
        if settings.foundry == "off" or (other_small and other_large):
            return None
        if settings.foundry == "embed":
            return cls(settings, None, FoundryRuntime(settings.foundry_models))
        if other_small and not settings.foundry_local_endpoint:
            return None  # as the small model is elsewhere, nobody asked to look for this one
        found = await find_service(settings.foundry_local_endpoint)
        return cls(settings, found, None) if found or settings.foundry_local_endpoint else None

    def model(self, role: str) -> FoundryLocal:
        """One of its models, not loaded yet."""
        settings, alias = self.settings, self.settings.slm_model if role == "slm" else self.settings.llm_model
        key = settings.llm_api_key if role == "llm" else settings.slm_api_key

        async def find(tell: Callable[[str], None]) -> Service | None:
            if self.runtime:
                return await self.runtime.service(alias, tell)
            return await find_service(settings.foundry_local_endpoint)

        return FoundryLocal(
            alias,
            find,
            role=role.upper(),
            api_key=key.get_secret_value(),
            deadlines=_deadlines(settings),
            retry_backoff_s=settings.retry_backoff if settings.retry_on_fail else None,
            extra_body=settings.llm_extra_body if role == "llm" else settings.slm_extra_body,
            stop=self.runtime.stop if self.runtime else None,
        )

    async def large(self) -> FoundryLocal | None:
        """The large model, if the service lists it or has it loaded; of the runtime, if one was asked for by name."""
        if self.runtime:
            return self.model("llm") if "llm_model" in self.settings.model_fields_set else None
        return self.model("llm") if self.found and await _known(self.found, self.settings.llm_model) else None

    async def lacks_small(self) -> str:
        """Why a service that nobody configured cannot draft, in words; empty if it can, or was configured."""
        name = self.settings.slm_model
        if self.found is None or self.settings.foundry_local_endpoint or await _known(self.found, name):
            return ""
        return (
            f"Foundry Local at {self.found.url} has no model {name}, so the embedded model answers. Download it with "
            f"foundry model download {name}, name another one with SLM_ALIAS, or set RAG_FOUNDRY=off."
        )


async def _known(service: Service, model: str) -> bool:
    try:
        return bool(resolve_model(model, [*await service.loaded(), *await service.listed()], only_one_will_do=False))
    except ModelError:
        return False


async def _listed(backend: OpenAICompatible) -> list[str]:
    try:
        return await backend.list_models()
    except ModelError:
        return []


async def _greet(backend: OpenAICompatible, faults: list[str]) -> None:
    try:
        await backend.start()
    except ModelRefused as error:
        if error.status != 404:  # a server that lists no models may still answer
            faults.append(str(error))
    except ModelError as error:
        faults.append(str(error))


async def _custom(name: str, role: str, faults: list[str]) -> Backend:
    backend = await asyncio.to_thread(load_backend, name, setting=f"RAG_{role}_BACKEND")
    if backend.ready:  # nothing to load, so that a look costs nothing
        try:
            await backend.start()
        except ModelError as error:
            faults.append(str(error))
    return backend


def _embedded(settings: Settings, path: Path | None, role: str = "SLM", idle_s: float | None = None) -> Embedded:
    return Embedded(
        path,
        slots=settings.slots,
        threads=settings.threads,
        role=role,
        deadlines=_deadlines(settings),
        idle_s=idle_s,
    )


def _server(settings: Settings, url: str, role: str, where: str | None = None) -> OpenAICompatible:
    key = settings.llm_api_key if role == "llm" else settings.slm_api_key
    return OpenAICompatible(
        url,
        settings.llm_model if role == "llm" else settings.slm_model,
        api_key=key.get_secret_value(),
        role=role.upper(),
        deadlines=_deadlines(settings),
        retry_backoff_s=settings.retry_backoff if settings.retry_on_fail else None,
        where=where,
        extra_body=settings.llm_extra_body if role == "llm" else settings.slm_extra_body,
    )


def _deadlines(settings: Settings) -> Deadlines:
    return Deadlines(settings.connect_s, settings.first_text_s, settings.between_texts_s)

"""Which models answer: the ladder from the settings down to the embedded model."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rag.backends.base import Backend
from rag.backends.chosen import chosen_file, overridden_by
from rag.backends.custom import load_backend
from rag.backends.embedded import Embedded
from rag.backends.foundry import gone
from rag.backends.foundry_choice import FoundryChoice, deadlines_of
from rag.backends.foundry_local import FoundryLocal
from rag.backends.openai_compatible import OpenAICompatible, resolve_model
from rag.errors import ModelError, ModelRefused
from rag.gguf import ROLES, Role
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
        faults: what is wrong with the servers that were configured, and the model files that were chosen, in words.
        most_sentences: how many sentences of evidence the SLM can read without being led astray; None: all there are.
        at_once: how many questions its server can answer at the same time; None: as many as are asked.
        lasting: those of the faults that are mended by a new start only.
    """

    slm: Backend
    llm: Backend | None
    no_llm: str = ""
    faults: tuple[str, ...] = ()
    most_sentences: int | None = None
    at_once: int | None = None
    lasting: tuple[str, ...] = ()


async def choose_models(settings: Settings) -> Models:
    """
    Find the SLM and the LLM.

    The SLM: a backend of the user's own, a URL or a file in the settings, Foundry Local where
    `FOUNDRY_LOCAL_ENDPOINT` says, a downloaded file that was chosen, Foundry Local if it is found on this machine or is
    to run in this process, else the embedded model.
    The LLM: the first three in its settings, a downloaded file that was chosen, else Foundry Local or the SLM's server
    if it lists it, else none.
    A configured server that does not answer is kept, with a fault: it may come up later. A chosen file that is gone or
    damaged is passed over, with a fault.

    Raises:
        ModelError: the backend of the user's own for the SLM cannot be made.
    """
    chosen, lasting = await asyncio.to_thread(_chosen_files, settings)
    models = await _choose(settings, chosen)
    shipped = isinstance(models.slm, Embedded) and models.slm.shipped
    return replace(
        models,
        most_sentences=settings.draft_sentences or (_EMBEDDED_SENTENCES if shipped else None),
        at_once=1 if isinstance(models.slm, FoundryLocal) else None,
        faults=(*lasting, *models.faults),
        lasting=lasting,
    )


def _chosen_files(settings: Settings) -> tuple[dict[Role, Path], tuple[str, ...]]:
    found = {role: chosen_file(settings.models_dir, role) for role in ROLES if not overridden_by(settings, role)}
    faults = dict.fromkeys(fault for _, fault in found.values() if fault)  # once, where both roles have the same
    return {role: path for role, (path, _) in found.items() if path}, tuple(faults)


async def _choose(settings: Settings, chosen: Mapping[Role, Path]) -> Models:
    faults: list[str] = []
    foundry = await FoundryChoice.of(
        settings,
        other_small=bool(settings.slm_backend or settings.slm_gguf or settings.slm_url or chosen.get("slm")),
        other_large=bool(settings.llm_backend or settings.llm_gguf or settings.llm_url or chosen.get("llm")),
    )
    slm = await _choose_slm(settings, foundry, chosen.get("slm"), faults)
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
    if path := settings.llm_gguf or chosen.get("llm"):
        return Models(slm, _embedded(settings, path, "LLM", settings.llm_idle_s), faults=tuple(faults))
    if foundry and (large_one := await foundry.large()):
        return Models(slm, large_one, faults=tuple(faults))
    if isinstance(slm, OpenAICompatible) and not faults:
        listed = resolve_model(settings.llm_model, await _listed(slm), only_one_will_do=False)
        if listed:
            same_server = settings.model_copy(update={"llm_model": listed, "llm_api_key": settings.slm_api_key})
            return Models(slm, _server(same_server, slm.url, "llm", slm.where))
    why = (
        f"There is no large model: set RAG_LLM_URL to a server that has {settings.llm_model}, or RAG_LLM_GGUF, or "
        "download one with python -m rag models."
    )
    if "llm_model" in settings.model_fields_set and isinstance(slm, OpenAICompatible | FoundryLocal):
        near = difflib.get_close_matches(settings.llm_model, await _listed(slm), n=1, cutoff=0.4)
        why += f" The small model's server lists {near[0]}: was that meant?" if near else ""
    return Models(slm, None, why, tuple(faults))


async def _choose_slm(
    settings: Settings, foundry: FoundryChoice | None, chosen: Path | None, faults: list[str]
) -> Backend:
    if settings.slm_backend:
        return await _custom(settings.slm_backend, "SLM", faults)
    if settings.slm_gguf:
        return _embedded(settings, settings.slm_gguf)
    if settings.slm_url:
        small = _server(settings, settings.slm_url, "slm")
        await _greet(small, faults)
        return small
    if chosen:
        return _embedded(settings, chosen)
    if foundry is None:
        return _embedded(settings, None)
    if foundry.found is None and foundry.runtime is None:
        faults.append(str(gone(settings.foundry_local_endpoint or "")))
    elif lacking := await foundry.lacks_small():
        faults.append(lacking)
        return _embedded(settings, None)
    elif foundry.elsewhere:
        faults.append(foundry.elsewhere)
    return foundry.model("slm")


async def _listed(backend: OpenAICompatible | FoundryLocal) -> list[str]:
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
        deadlines=deadlines_of(settings),
        idle_s=idle_s,
    )


def _server(settings: Settings, url: str, role: str, where: str | None = None) -> OpenAICompatible:
    key = settings.llm_api_key if role == "llm" else settings.slm_api_key
    return OpenAICompatible(
        url,
        settings.llm_model if role == "llm" else settings.slm_model,
        api_key=key.get_secret_value(),
        role=role.upper(),
        deadlines=deadlines_of(settings),
        retry_backoff_s=settings.retry_backoff if settings.retry_on_fail else None,
        where=where,
        extra_body=settings.llm_extra_body if role == "llm" else settings.slm_extra_body,
    )

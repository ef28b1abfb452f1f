"""Which models answer: the ladder from the settings down to the embedded model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rag.backends.base import Backend
from rag.backends.chosen import chosen_file, overridden_by
from rag.backends.embedded import Embedded
from rag.backends.openai_compatible import Deadlines, OpenAICompatible, display_url, resolve_model
from rag.errors import ModelError, ModelRefused
from rag.gguf import ROLES, Role
from rag.settings import Settings

FOUNDRY_PORT_URL = "http://127.0.0.1:5273/v1"
_PROBE_S = 0.5
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
        lasting: those of the faults that are mended by a new start only.
    """

    slm: Backend
    llm: Backend | None
    no_llm: str = ""
    faults: tuple[str, ...] = ()
    most_sentences: int | None = None
    lasting: tuple[str, ...] = ()


async def choose_models(settings: Settings) -> Models:
    """
    Find the SLM and the LLM.

    The SLM: a URL or file in the settings, `FOUNDRY_LOCAL_ENDPOINT`, a downloaded file that was chosen, a service on
    Foundry Local's port, else the embedded model. The LLM: a URL or file in the settings, a downloaded file that was
    chosen, else the SLM's server if it lists it, else none.
    A configured server that does not answer is kept, with a fault: it may come up later. A chosen file that is gone or
    damaged is passed over, with a fault.
    """
    chosen, lasting = await asyncio.to_thread(_chosen_files, settings)
    models = await _choose(settings, chosen)
    shipped = isinstance(models.slm, Embedded) and models.slm.shipped
    most = settings.draft_sentences or (_EMBEDDED_SENTENCES if shipped else None)
    return replace(models, most_sentences=most, faults=(*lasting, *models.faults), lasting=lasting)


def _chosen_files(settings: Settings) -> tuple[dict[Role, Path], tuple[str, ...]]:
    found = {role: chosen_file(settings.models_dir, role) for role in ROLES if not overridden_by(settings, role)}
    faults = dict.fromkeys(fault for _, fault in found.values() if fault)  # once, where both roles have the same
    return {role: path for role, (path, _) in found.items() if path}, tuple(faults)


async def _choose(settings: Settings, chosen: Mapping[Role, Path]) -> Models:
    faults: list[str] = []
    slm = await _choose_slm(settings, chosen.get("slm"), faults)
    if settings.llm_url:
        large = _server(settings, settings.llm_url, "llm")
        await _greet(large, faults)
        return Models(slm, large, faults=tuple(faults))
    if path := settings.llm_gguf or chosen.get("llm"):
        return Models(slm, _embedded(settings, path, "LLM", settings.llm_idle_s), faults=tuple(faults))
    if isinstance(slm, OpenAICompatible) and not faults:
        listed = resolve_model(settings.llm_model, await _listed(slm), only_one_will_do=False)
        if listed:
            same_server = settings.model_copy(update={"llm_model": listed, "llm_api_key": settings.slm_api_key})
            return Models(slm, _server(same_server, slm.url, "llm", slm.where))
    why = (
        f"There is no large model: set RAG_LLM_URL to a server that has {settings.llm_model}, or RAG_LLM_GGUF, or "
        "download one with python -m rag models."
    )
    return Models(slm, None, why, tuple(faults))


async def _choose_slm(settings: Settings, chosen: Path | None, faults: list[str]) -> Backend:
    if settings.slm_gguf:
        return _embedded(settings, settings.slm_gguf)
    url = settings.slm_url or settings.foundry_local_endpoint
    if url:
        where = f"Foundry Local ({display_url(url)})" if not settings.slm_url else None
        small = _server(settings, url, "slm", where)
        await _greet(small, faults)
        return small
    if chosen:
        return _embedded(settings, chosen)
    quick = Deadlines(connect_s=_PROBE_S)
    probe = OpenAICompatible(FOUNDRY_PORT_URL, settings.slm_model, deadlines=quick, retry_backoff_s=None)
    found = await _listed(probe)
    await probe.stop()
    if not found:
        return _embedded(settings, None)
    small = _server(settings, FOUNDRY_PORT_URL, "slm", f"Foundry Local ({FOUNDRY_PORT_URL})")
    await _greet(small, faults)
    return small


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
    )


def _deadlines(settings: Settings) -> Deadlines:
    return Deadlines(settings.connect_s, settings.first_text_s, settings.between_texts_s)

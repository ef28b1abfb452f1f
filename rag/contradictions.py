"""Which settings cannot be together, or cannot work, each with a sentence."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_WAYS = ("url", "gguf", "backend")
_NAMES = {"foundry_local_endpoint": "FOUNDRY_LOCAL_ENDPOINT"}
# What the chat says in each request; other words there would be another question.
_OWN_FIELDS = frozenset({"messages", "model", "n", "stream"})


def refuse_contradictions(settings: Any) -> None:
    """
    Look at all values of a `rag.settings.Settings` together.

    Raises:
        ValueError: names the settings, the value and what to do.
    """
    _refuse_models(settings)
    _refuse_foundry(settings)
    _refuse_places(settings)
    _refuse_addresses(settings)
    _refuse_patterns(settings)


def _refuse_models(settings: Any) -> None:
    for role in ("slm", "llm"):
        ways = [f"RAG_{role.upper()}_{way.upper()}" for way in _WAYS if getattr(settings, f"{role}_{way}")]
        if len(ways) > 1:
            raise ValueError(f"{ways[0]} and {ways[1]} are both set. Keep one.")
        own = getattr(settings, f"{role}_backend")
        if own and not re.fullmatch(r"(?!.*\.py:)\w+(\.\w+)*:\w+", own):
            name = f"RAG_{role.upper()}_BACKEND"
            raise ValueError(f"{name} must be module:factory, such as examples.custom_backend:make, was: {own}")
        key = getattr(settings, f"{role}_api_key").get_secret_value()
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"RAG_{role.upper()}_API_KEY has characters that no key has. Copy it again.")
        try:
            json.dumps(getattr(settings, f"{role}_extra_body"), allow_nan=False)
        except ValueError as error:
            raise ValueError(
                f"RAG_{role.upper()}_EXTRA_BODY has a number that JSON has not (NaN, Infinity)."
            ) from error
        if fixed := sorted(_OWN_FIELDS & getattr(settings, f"{role}_extra_body").keys()):
            raise ValueError(f"RAG_{role.upper()}_EXTRA_BODY must not set {', '.join(fixed)}: the chat does.")
        path = getattr(settings, f"{role}_gguf")
        if path and not os.path.isfile(path):
            raise ValueError(f"RAG_{role.upper()}_GGUF: no file {path}. Check the path.")


def _refuse_foundry(settings: Any) -> None:
    if settings.foundry != "find" and settings.foundry_local_endpoint:
        raise ValueError(f"RAG_FOUNDRY={settings.foundry} and FOUNDRY_LOCAL_ENDPOINT are both set. Keep one.")
    folder = settings.foundry_models
    if folder and settings.foundry != "embed":
        raise ValueError("RAG_FOUNDRY_MODELS needs RAG_FOUNDRY=embed. Set it, or leave the folder out.")
    if folder and not os.path.isdir(folder):
        raise ValueError(f"RAG_FOUNDRY_MODELS: no folder {folder}. Check the path.")


def _refuse_places(settings: Any) -> None:
    if settings.index_dir and is_visible_in(settings.index_dir, settings.docs_dir):
        raise ValueError(
            f"RAG_INDEX_DIR lies among the documents and would be read as some: {settings.index_dir}. "
            "Put it elsewhere, or let its name begin with a dot."
        )
    if settings.models_dir and is_visible_in(settings.models_dir, settings.docs_dir) and not settings.documents:
        raise ValueError(
            f"RAG_MODELS_DIR lies among the documents: {settings.models_dir}. "
            "Put it elsewhere, or let its name begin with a dot."
        )
    if settings.feedback and os.path.isdir(settings.feedback):
        raise ValueError(f"RAG_FEEDBACK is a folder: {settings.feedback}. Name a file in it, or set it to none.")
    named = "feedback" in settings.model_fields_set and not settings.documents
    if named and settings.feedback and is_visible_in(settings.feedback, settings.docs_dir):
        raise ValueError(
            f"RAG_FEEDBACK lies among the documents and would be read as one: {settings.feedback}. "
            "Put it elsewhere, or let its name begin with a dot."
        )
    if isinstance(settings.trace, Path) and os.path.isdir(settings.trace):
        raise ValueError(f"RAG_TRACE is a folder: {settings.trace}. Name a file in it, or set it to none.")
    if isinstance(settings.trace, Path) and is_visible_in(settings.trace, settings.docs_dir) and not settings.documents:
        raise ValueError(
            f"RAG_TRACE lies among the documents and would be read as one: {settings.trace}. "
            "Put it elsewhere, or let its name begin with a dot."
        )


def _refuse_addresses(settings: Any) -> None:
    if settings.index == "qdrant" and not settings.qdrant_url:
        raise ValueError("RAG_INDEX=qdrant needs RAG_QDRANT_URL, for example http://localhost:6333.")
    for url in ("slm_url", "llm_url", "foundry_local_endpoint", "qdrant_url", "hub_url"):
        value, name = getattr(settings, url), _NAMES.get(url, f"RAG_{url.upper()}")
        if value and not value.startswith(("http://", "https://")):
            raise ValueError(f"{name} must begin with http:// or https://, was: {value}")
        if value and not _is_url(value):
            raise ValueError(f"{name} must be a URL such as http://localhost:8080/v1, was: {value}")


def _refuse_patterns(settings: Any) -> None:
    for topics in ("escalate_topics", "refine_topics"):
        for pattern in getattr(settings, topics):
            try:
                re.compile(pattern)
            except re.error as error:
                said = f"RAG_{topics.upper()}: {pattern!r} is not a regular expression ({error})."
                raise ValueError(said) from error


def is_visible_in(place: Path, folder: Path) -> bool:
    """Whether a file or folder would be read with the documents: it lies among them, and nothing hides it."""
    inner, outer = os.path.realpath(place), os.path.realpath(folder)
    below = os.path.relpath(inner, outer) if os.path.splitdrive(inner)[0] == os.path.splitdrive(outer)[0] else ".."
    return not any(part.startswith(".") for part in Path(below).parts)


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False

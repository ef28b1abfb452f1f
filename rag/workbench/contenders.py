"""Which models are measured side by side: names in, backends out."""

from __future__ import annotations

import asyncio
import difflib
import os
import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rag.addresses import is_loopback
from rag.backends.base import Backend
from rag.backends.choose import Models, choose_models
from rag.backends.custom import limit
from rag.backends.embedded import Embedded, label_of
from rag.backends.foundry_local import FoundryLocal
from rag.backends.openai_compatible import Deadlines, OpenAICompatible, resolve_model
from rag.errors import ModelError, ModelUnavailable
from rag.machine import memory, resident
from rag.naming import closest
from rag.settings import Settings

#: The names that mean a role, not a model.
ROLES = ("slm", "llm", "embedded")

_EVERY = ("", "auto", "all")
_NO_CHAT = re.compile(r"embed|rerank|whisper|clip\b|bge-|\be5-|tts", re.IGNORECASE)
_MOST_LISTED = 30


@dataclass(frozen=True)
class Contender:
    """
    A model that is measured.

    Attributes:
        alias: what it is called in the results: as it was asked for, or its own name for `slm` and the like.
        backend: what answers; None if there is none.
        fault: why there is none, and what to do about it; empty if there is one.
        shared: whether somebody else uses it too, so that it stays loaded.
        max_tokens: the longest of its answers in a comparison; None: as long as those of the others.
        limited_by: the setting that says so.
    """

    alias: str
    backend: Backend | None
    fault: str = ""
    shared: bool = False
    max_tokens: int | None = None
    limited_by: str = "--max-tokens"

    @property
    def where(self) -> str | None:
        """Where it runs; None if that is nowhere."""
        return self.backend.where if self.backend else None

    @property
    def disk_mb(self) -> float | None:
        """The size of its file in megabytes (10⁶ bytes); None where that is not ours to see."""
        file = self.backend.file if isinstance(self.backend, Embedded) else None
        try:
            return round(file.stat().st_size / 1e6, 1) if file else None
        except OSError:
            return None

    @property
    def memory_mb(self) -> float | None:
        """The memory of its process now, in megabytes (10⁶ bytes); None where that is not ours to see."""
        pid = self.backend.pid if isinstance(self.backend, Embedded) else None
        held = resident(pid) if pid is not None else None
        return None if held is None else round(held / 1e6, 1)

    async def unload(self) -> None:
        """Free what it holds on this machine, so that the next one has the machine for itself; it may be asked on."""
        if isinstance(self.backend, Embedded) and not self.shared:
            await self.backend.stop()

    def is_same(self, other: Contender, names: Collection[str], others: Collection[str]) -> bool:
        """
        Whether another one is the same model: in the same place, by any name.

        Args:
            names, others: by which servers called the two, beside those that they were asked by.
        """
        if self.backend is None or other.backend is None:
            return False
        if self.backend is other.backend:
            return True
        mine, theirs = ({one.backend.label, *named} for one, named in ((self, names), (other, others)) if one.backend)
        return _place(self.backend) == _place(other.backend) and not mine.isdisjoint(theirs)


def _place(backend: Backend) -> str:
    # One server has many spellings of its address on this machine.
    url = getattr(backend, "url", "")
    if not isinstance(url, str) or not url:
        return backend.where
    host = "localhost" if is_loopback(url) else urlsplit(url).hostname
    return f"{host}:{urlsplit(url).port}"


def machine() -> dict[str, float | None]:
    """
    What this machine has: `cores`, and `memory_gb` (10⁹ bytes), None where that is not known.

    >>> sorted(machine())
    ['cores', 'memory_gb']
    """
    total = memory().total
    return {"cores": os.cpu_count(), "memory_gb": round(total / 1e9, 1) if total else None}


def names_in(text: str | None) -> list[str]:
    """
    The names in a list with commas; none if it says that all are wanted.

    >>> names_in("phi-4-mini, slm,slm"), names_in("ALL"), names_in(None)
    (['phi-4-mini', 'slm'], [], [])
    """
    names = [name.strip() for name in (text or "").split(",")]
    if any(name.casefold() in _EVERY[1:] for name in names):
        return []
    return list(dict.fromkeys(name for name in names if name))


@asynccontextmanager
async def contenders(settings: Settings, names: Sequence[str]) -> AsyncIterator[list[Contender]]:
    """
    Find the models with these names, and free all of them at the end.

    A name is `slm` or `llm`, which the chat would use; `embedded`, the model that came with the installation; one
    that a server of the settings lists, or an alias of it; or the path of a `.gguf` file. Without names: all that
    the servers list, and the embedded model. None of them is loaded yet.

    Raises:
        ModelUnavailable: there is no model of that name, or none at all.
    """
    models = await choose_models(settings)
    limit((models.slm, models.llm), first_text_s=settings.first_text_s, between_texts_s=settings.between_texts_s)
    found = _Found(settings, models)
    try:
        await found.look_around()
        yield found.named(names) if names else found.all()
    finally:
        await found.stop()


@dataclass
class _Found:
    settings: Settings
    models: Models
    listed: dict[str, tuple[OpenAICompatible | FoundryLocal, list[str]]] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)  # of Foundry Local
    opened: list[Backend] = field(default_factory=list)

    async def look_around(self) -> None:
        """Ask each server once what it has."""
        for backend in (self.models.slm, self.models.llm):
            if isinstance(backend, FoundryLocal) and self.settings.foundry != "embed":  # which would download it
                await self._look_at_foundry(backend)
            if isinstance(backend, OpenAICompatible) and backend.url not in self.listed:
                try:
                    ids = await backend.list_models()
                except ModelError:  # it may list nothing and answer all the same
                    ids = []
                self.listed[backend.url] = backend, list(dict.fromkeys(ids))

    async def _look_at_foundry(self, backend: FoundryLocal) -> None:
        try:
            self.loaded = await backend.loaded_models()
            self.listed[backend.url] = backend, list(dict.fromkeys([*self.loaded, *await backend.list_models()]))
        except ModelError:
            return

    async def stop(self) -> None:
        """Free all of them, whatever befalls one."""
        backends = [self.models.slm, *([self.models.llm] if self.models.llm else []), *self.opened]
        await asyncio.gather(*(backend.stop() for backend in backends), return_exceptions=True)

    def named(self, names: Sequence[str]) -> list[Contender]:
        """One for each name; the same model twice is one."""
        found = [self._one(name) for name in names]
        unknown = [name for name, one in zip(names, found, strict=True) if one is None]
        if unknown:
            raise ModelUnavailable("\n".join(self._unknown(name) for name in unknown))
        return _distinct([one for one in found if one is not None])

    def all(self) -> list[Contender]:
        """All that there are; those that do not chat are left out."""
        found = []
        for server, ids in self.listed.values():
            # Foundry Local lists what it could download: what is not loaded is measured if it is asked for by name.
            wanted = self.loaded if isinstance(server, FoundryLocal) else ids
            found += [self._on(server, one, one) for one in wanted if not _NO_CHAT.search(one)]
            if not ids:
                found.append(self._role("llm" if server is self.models.llm else "slm"))
        for role, backend in (("slm", self.models.slm), ("llm", self.models.llm)):
            if backend and not isinstance(backend, OpenAICompatible):
                found.append(self._role(role))
        own = self._role("embedded")
        if isinstance(own.backend, Embedded) and own.backend.file:
            found.append(own)
        found = _distinct(found)
        if not found:
            raise ModelUnavailable("There is no model to measure. Set RAG_SLM_URL, or run make setup.")
        return found

    def _one(self, name: str) -> Contender | None:
        if name.casefold() in ROLES:
            return self._role(name.casefold())
        if name.casefold().endswith(".gguf"):
            return self._file(Path(name).expanduser())
        for server, ids in self.listed.values():
            if listed := resolve_model(name, ids, only_one_will_do=False):
                return self._on(server, listed, name)
        for role in ROLES:
            one = self._role(role)
            if one.backend and name.casefold() in (one.alias.casefold(), one.backend.label.casefold()):
                return one
        for role in ("slm", "llm"):
            if name.casefold() == str(getattr(self.settings, f"{role}_model")).casefold():
                return self._configured(role, name)
        return None

    def _configured(self, role: str, name: str) -> Contender:
        """The model of the settings that no list has: from a server that lists nothing, or a fault, not a mistake."""
        one = self._role(role)
        if one.backend is None or (isinstance(one.backend, OpenAICompatible) and not self.listed[one.backend.url][1]):
            return one
        return Contender(
            name, None, f"No server that was found has {name}. Set RAG_{role.upper()}_URL to one that has."
        )

    def _role(self, role: str) -> Contender:
        if role == "embedded":
            backend: Backend | None = self._embedded(None)
        else:
            backend = self.models.slm if role == "slm" else self.models.llm
        wanted = str(getattr(self.settings, f"{role}_model", ""))
        if backend is None:
            return Contender(wanted, None, self.models.no_llm)
        # What a server has under another name must not pass for what was wanted.
        meant = isinstance(backend, OpenAICompatible) and resolve_model(wanted, [backend.label], only_one_will_do=False)
        return Contender(wanted if meant else backend.label, backend)

    def _on(self, server: OpenAICompatible | FoundryLocal, listed: str, alias: str) -> Contender:
        for known in (self.models.slm, self.models.llm, *self.opened):
            if isinstance(known, OpenAICompatible) and (known.url, known.label) == (server.url, listed):
                return Contender(alias, known)
            is_its = isinstance(known, FoundryLocal) and isinstance(server, FoundryLocal)
            if known and is_its and closest(getattr(known, "alias", ""), [listed]):
                return Contender(alias, known)
        return Contender(alias, self._opened(server.with_model(listed)))

    def _file(self, path: Path) -> Contender:
        if not path.is_file():
            raise ModelUnavailable(f"There is no file {path}. Check the path of the model.")
        return Contender(label_of(path), self._embedded(path))

    def _embedded(self, path: Path | None) -> Embedded:
        own = Embedded(
            path,
            slots=self.settings.slots,
            threads=self.settings.threads,
            deadlines=Deadlines(self.settings.connect_s, self.settings.first_text_s, self.settings.between_texts_s),
        )
        for known in (self.models.slm, self.models.llm, *self.opened):
            if isinstance(known, Embedded) and known.file and known.file == own.file:
                return known
        self._opened(own)
        return own

    def _opened(self, backend: Backend) -> Backend:
        self.opened.append(backend)
        return backend

    def _unknown(self, name: str) -> str:
        ids = [one for _, listed in self.listed.values() for one in listed]
        known = list(dict.fromkeys([*ROLES, *ids]))
        # Ids are longer than what people type: phi-4-mni is near the beginning of Phi-4-mini-instruct-generic-cpu:5.
        plain = {one.casefold()[: len(name) + 1]: one for one in reversed(known)} | {
            one.casefold(): one for one in known
        }
        near = difflib.get_close_matches(name.casefold(), list(plain), n=1)
        hint = f" Did you mean {plain[near[0]]}?" if near else ""
        more = f" and {len(known) - _MOST_LISTED} more" if len(known) > _MOST_LISTED else ""
        faults = "".join(f" {fault}" for fault in self.models.faults)
        return (
            f"There is no model {name!r}.{hint} There are: {', '.join(known[:_MOST_LISTED])}{more}; "
            f"or name a .gguf file.{faults}"
        )


def _distinct(found: Sequence[Contender]) -> list[Contender]:
    """Each model once, and no two of the same name."""
    kept: list[Contender] = []
    for one in found:
        if one.backend is not None and any(one.backend is other.backend for other in kept):
            continue
        if any(one.alias == other.alias for other in kept):
            if one.backend is None:
                continue
            one = Contender(f"{one.alias} on {one.where}", one.backend)
        kept.append(one)
    return kept

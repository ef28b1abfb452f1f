"""Which part Foundry Local has in a run: a service that was found, or its runtime in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from rag.addresses import display_url
from rag.backends.foundry import Service, address_of, find_service
from rag.backends.foundry_local import FoundryLocal
from rag.backends.foundry_runtime import FoundryRuntime
from rag.backends.openai_compatible import Deadlines
from rag.errors import ModelError
from rag.naming import may_mean
from rag.settings import Settings


@dataclass(frozen=True)
class FoundryChoice:
    """Foundry Local as the settings want it: a service that was found, or the runtime in this process."""

    settings: Settings
    found: Service | None
    runtime: FoundryRuntime | None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # it is made for one question at a time

    @property
    def elsewhere(self) -> str:
        """That it is not where it was configured to be, in words; empty if it is."""
        endpoint = self.settings.foundry_local_endpoint
        if not self.found or not endpoint or address_of(endpoint)[0] == self.found.root:
            return ""
        return (
            f"FOUNDRY_LOCAL_ENDPOINT {display_url(endpoint)} does not answer; Foundry Local was found at "
            f"{display_url(self.found.root)} and is used."
        )

    @classmethod
    async def of(cls, settings: Settings, *, other_small: bool, other_large: bool) -> FoundryChoice | None:
        """
        None where it is not wanted, or where none was found and none was configured.

        Args:
            settings: say whether and where.
            other_small, other_large: whether something else is chosen for the role.
        """
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

        async def find(alias: str, tell: Callable[[str], None]) -> Service | None:
            if self.runtime:
                return await self.runtime.service(alias, tell)
            return await find_service(settings.foundry_local_endpoint)

        return FoundryLocal(
            alias,
            find,
            role=role.upper(),
            endpoint=settings.foundry_local_endpoint,
            api_key=key.get_secret_value(),
            deadlines=deadlines_of(settings),
            retry_backoff_s=settings.retry_backoff if settings.retry_on_fail else None,
            extra_body=settings.llm_extra_body if role == "llm" else settings.slm_extra_body,
            turn=None if "slots" in settings.model_fields_set else self.turn,
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
            f"Foundry Local at {display_url(self.found.url)} has no model {name}, so the embedded model answers. "
            f"Download it with foundry model download {name}, name another one with SLM_ALIAS, or set RAG_FOUNDRY=off."
        )


async def _known(service: Service, model: str) -> bool:
    try:
        return any(may_mean(model, one) for one in [*await service.loaded(), *await service.listed()])
    except ModelError:
        return False


def deadlines_of(settings: Settings) -> Deadlines:
    """How long a server may take, as the settings say."""
    return Deadlines(settings.connect_s, settings.first_text_s, settings.between_texts_s)

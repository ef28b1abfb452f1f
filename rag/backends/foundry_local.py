"""A model of a Foundry Local service, followed wherever the service goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from rag.backends.base import Piece
from rag.backends.foundry import Service, gone
from rag.backends.openai_compatible import Deadlines, OpenAICompatible
from rag.errors import ModelError, ModelRefused, ModelUnavailable
from rag.prompts import Message

log = logging.getLogger(__name__)

#: Finds the service, and has it hold the model ready to be loaded; tells on the way how far it is.
Find = Callable[[Callable[[str], None]], Awaitable[Service | None]]


class FoundryLocal:
    """
    A model that is asked for by its alias. It is loaded on `start` or on the first question.

    A service that restarted on another port, or that has unloaded the model, is looked for again and the question is
    asked once more, as long as nothing of the answer has come.

    Args:
        alias: the model's name, such as `phi-4-mini`, or an id.
        find: finds the service; called again when it is lost.
        role: `SLM` or `LLM`, to name the right settings in messages.
        api_key: sent as a bearer token; never logged.
        deadlines: how long to wait for its texts.
        retry_backoff_s, extra_body: as of `OpenAICompatible`.
        stop: ends what `find` began.

    Attributes:
        alias: as asked for.
        label: the id that answers to it, once that is known; the alias before.
        loading: what is being done to make it ready, in words.
    """

    def __init__(
        self,
        alias: str,
        find: Find,
        *,
        role: str = "SLM",
        api_key: str = "none",
        deadlines: Deadlines | None = None,
        retry_backoff_s: float | None = 0.5,
        extra_body: Mapping[str, Any] | None = None,
        stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.alias = self.label = alias
        self.where = "Foundry Local"
        self.loading = f"Loading {alias} into Foundry Local …"
        self._find = find
        self._role = role
        self._api_key = api_key
        self._deadlines = deadlines
        self._retry_backoff_s = retry_backoff_s
        self._extra_body = extra_body
        self._end = stop
        self._lock = asyncio.Lock()
        self._service: Service | None = None
        self._server: OpenAICompatible | None = None

    @property
    def url(self) -> str:
        """Where the service is, once it was found; empty before."""
        return self._service.url if self._service else ""

    async def list_models(self) -> list[str]:
        """The ids that the service lists, loaded or not. Raises `ModelError`."""
        return await (await self._found()).listed()

    async def loaded_models(self) -> list[str]:
        """The ids that the service has loaded. Raises `ModelError`."""
        return await (await self._found()).loaded()

    def with_model(self, model: str) -> FoundryLocal:
        """Another model of the same service."""
        other = FoundryLocal(
            model,
            self._find,
            role=self._role,
            api_key=self._api_key,
            deadlines=self._deadlines,
            retry_backoff_s=self._retry_backoff_s,
            extra_body=self._extra_body,
        )
        other._service = self._service
        return other

    @property
    def is_ours(self) -> bool:
        """Whether the service is on this machine."""
        return self._server is None or self._server.is_ours

    @property
    def ready(self) -> bool:
        """Whether the model was loaded when it was last asked."""
        return self._server is not None

    async def start(self) -> None:
        """Find the service and load the model; called again, see whether it is still loaded. Raises `ModelError`."""
        server, service = self._server, self._service
        if server and service:
            try:
                if self.label in await service.loaded():
                    return
            except ModelError as error:
                log.info("Foundry Local is lost and looked for again: %s", error)
            await self._lose(server)
        await self._attached()

    async def stop(self) -> None:
        """Close the connections. The model stays loaded, as others may use it."""
        if self._server:
            await self._lose(self._server)
        if self._end:
            await self._end()

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """Generate an answer, as the protocol says; loads the model if it is not loaded."""
        server = await self._attached()
        begun = False
        try:
            async with aclosing(server.stream(messages, max_tokens=max_tokens, temperature=temperature)) as pieces:
                async for piece in pieces:
                    begun = True
                    yield piece
            return
        except ModelError as error:
            if begun or not _is_lost(error):
                raise
            log.info("Foundry Local is lost and looked for again: %s", error)
        await self._lose(server)
        server = await self._attached()
        async with aclosing(server.stream(messages, max_tokens=max_tokens, temperature=temperature)) as pieces:
            async for piece in pieces:
                yield piece

    async def _attached(self) -> OpenAICompatible:
        async with self._lock:
            if self._server is None:
                service = await self._find(self._tell)
                if service is None:
                    raise gone(self._service.root if self._service else "")
                self.label = await service.load(self.alias)
                self._service = service
                self.where = f"Foundry Local ({service.url})"
                self._server = OpenAICompatible(
                    service.url,
                    self.label,
                    api_key=self._api_key,
                    role=self._role,
                    deadlines=self._deadlines,
                    retry_backoff_s=self._retry_backoff_s,
                    where=self.where,
                    extra_body=self._extra_body,
                    remedy="Look at foundry server status, or restart Foundry Local.",
                )
            return self._server

    async def _found(self) -> Service:
        service = self._service or await self._find(self._tell)
        if service is None:
            raise gone("")
        self._service = service
        return service

    async def _lose(self, server: OpenAICompatible) -> None:
        async with self._lock:
            if self._server is server:
                self._server = None
                await server.stop()

    def _tell(self, loading: str) -> None:
        self.loading = loading


def _is_lost(error: ModelError) -> bool:
    """Whether the service is gone, or has not the model loaded."""
    if isinstance(error, ModelRefused):
        return error.status == 404 or (error.status == 400 and "loaded" in str(error))
    return isinstance(error, ModelUnavailable)

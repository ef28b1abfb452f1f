"""A model of a Foundry Local service, followed wherever the service goes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

from rag.addresses import display_url
from rag.backends.base import Opened, Piece
from rag.backends.endpoint import fault_of
from rag.backends.foundry import Service, gone, look_at
from rag.backends.openai_compatible import Deadlines, OpenAICompatible, normalise_url
from rag.errors import ModelError, ModelRefused, ModelUnavailable
from rag.prompts import Message

log = logging.getLogger(__name__)

#: Finds the service, and has it hold a model ready to be loaded; tells on the way how far it is.
Find = Callable[[str, Callable[[str], None]], Awaitable[Service | None]]


class FoundryLocal:
    """
    A model that is asked for by its alias. It is loaded on `start` or on the first question.

    A service that restarted on another port, or that has unloaded the model, is looked for again and the question is
    asked once more, as long as nothing of the answer has come.

    Args:
        alias: the model's name, such as `phi-4-mini`, or an id.
        find: finds the service; called again when it is lost.
        role: `SLM` or `LLM`, to name the right settings in messages.
        endpoint: where the service should be; None: anywhere on this machine.
        api_key: sent as a bearer token, to the endpoint alone; never logged.
        deadlines: how long to wait for its texts.
        retry_backoff_s, extra_body: as of `OpenAICompatible`.
        turn: held while it answers, by all models of a service that answers one question at a time.
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
        endpoint: str | None = None,
        api_key: str = "none",
        deadlines: Deadlines | None = None,
        retry_backoff_s: float | None = 0.5,
        extra_body: Mapping[str, Any] | None = None,
        turn: asyncio.Lock | None = None,
        stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.alias = self.label = alias
        self.where = "Foundry Local"
        self.loading = f"Loading {alias} into Foundry Local …"
        self._find = find
        self._role = role
        self._endpoint = endpoint
        self._api_key = api_key
        self._deadlines = deadlines
        self._retry_backoff_s = retry_backoff_s
        self._extra_body = extra_body
        self._turn = turn
        self._end = stop
        self._lock = asyncio.Lock()
        self._service: Service | None = None
        self._server: OpenAICompatible | None = None
        self._streams: Counter[OpenAICompatible] = Counter()

    @property
    def url(self) -> str:
        """Where the service is, once it was found; empty before."""
        return self._service.url if self._service else ""

    @property
    def is_ours(self) -> bool:
        """Whether the service is on this machine."""
        return self._server is None or self._server.is_ours

    @property
    def ready(self) -> bool:
        """Whether the model was loaded when it was last asked."""
        return self._server is not None

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
            endpoint=self._endpoint,
            api_key=self._api_key,
            deadlines=self._deadlines,
            retry_backoff_s=self._retry_backoff_s,
            extra_body=self._extra_body,
            turn=self._turn,
        )
        other._service = self._service
        return other

    async def start(self) -> None:
        """Find the service and load the model; called again, see whether it is still loaded. Raises `ModelError`."""
        server, service = self._server, self._service
        if server and service:
            try:
                if self.label in await service.loaded():
                    return
            except ModelUnavailable as error:
                log.info("Foundry Local is lost and looked for again: %s", error)
            except ModelError as error:  # it is there, and has something else to do
                log.info("Foundry Local does not tell what it has loaded: %s", error)
                return
            await self._lose(server)
        await self._attached()

    async def stop(self) -> None:
        """Close the connections. The model stays loaded, as others may use it."""
        async with self._lock:
            await self._close()
        if self._end:
            await self._end()

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        """Generate an answer, as the protocol says; loads the model if it is not loaded."""
        async with AsyncExitStack() as stack:
            if self._turn:
                await stack.enter_async_context(self._turn)
            opened = begun = False
            for attempt in range(2):
                server = await self._attached()
                self._streams[server] += 1
                try:
                    inner = server.stream(messages, max_tokens=max_tokens, temperature=temperature)
                    async with aclosing(inner) as pieces:
                        async for piece in pieces:
                            begun = begun or not isinstance(piece, Opened)
                            if begun or not opened:
                                opened = True
                                yield piece
                    return
                except ModelError as error:
                    if begun or attempt or not await self._is_lost(error):
                        raise
                    log.info("Foundry Local is lost and looked for again: %s", error)
                finally:
                    await self._leave(server)
                await self._lose(server)

    async def _attached(self) -> OpenAICompatible:
        async with self._lock:
            if self._server is None:
                service = await self._find(self.alias, self._tell)
                if service is None:
                    raise await self._gone()
                known = self.label if self._service and self.label != self.alias else ""
                self.label = await service.load(self.alias, known=known)
                self._service = service
                self.where = f"Foundry Local ({display_url(service.url)})"
                # A key is for the endpoint that it was set with.
                its_own = self._endpoint is None or display_url(self._endpoint).startswith(display_url(service.root))
                self._server = OpenAICompatible(
                    service.url,
                    self.label,
                    api_key=self._api_key if its_own else "none",
                    role=self._role,
                    deadlines=self._deadlines,
                    retry_backoff_s=self._retry_backoff_s,
                    where=self.where,
                    extra_body=self._extra_body,
                    remedy="Look at foundry server status, or restart Foundry Local.",
                )
            return self._server

    async def _found(self) -> Service:
        service = self._service or await self._find(self.alias, self._tell)
        if service is None:
            raise await self._gone()
        self._service = service
        return service

    async def _gone(self) -> ModelUnavailable:
        where = self._service.root if self._service else self._endpoint
        told = None
        if where:
            told = await fault_of(normalise_url(where), role=self._role, setting="FOUNDRY_LOCAL_ENDPOINT")
        return ModelUnavailable(told) if told else gone(where or "")

    async def _is_lost(self, error: ModelError) -> bool:
        """Whether the service is gone, has not the model loaded, or is not at its address any more."""
        if isinstance(error, ModelRefused) and error.status == 400:
            return "loaded" in str(error)
        if isinstance(error, ModelUnavailable) or (isinstance(error, ModelRefused) and error.status == 404):
            return True
        if isinstance(error, ModelRefused) and error.status in (401, 403, 429):
            return False
        service = self._service
        found = await look_at(service.root + service.catalogue) if service else None
        return found is None or service is None or found.dialect != service.dialect

    async def _lose(self, server: OpenAICompatible) -> None:
        async with self._lock:
            if self._server is server:
                await self._close()

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server and not self._streams[server]:  # whoever still reads from it closes it
            del self._streams[server]
            await server.stop()

    async def _leave(self, server: OpenAICompatible) -> None:
        self._streams[server] -= 1
        if not self._streams[server]:
            del self._streams[server]
            if server is not self._server:
                await server.stop()

    def _tell(self, loading: str) -> None:
        self.loading = loading

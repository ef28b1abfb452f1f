"""What the tests of Foundry Local share: a model of a service, and a question to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rag.backends.base import Done, Text
from rag.backends.foundry import Service, look_at
from rag.backends.foundry_local import FoundryLocal
from tests.conftest import events_of
from tests.foundry_server import FoundryServer

MESSAGES = [{"role": "user", "content": "Which port?"}]


async def no_command(command: Sequence[str]) -> str | None:
    """Foundry Local's command is not installed."""
    return None


def local(server: FoundryServer, alias: str = "phi-4-mini", **options: Any) -> FoundryLocal:
    """A model of that service, wherever it is by now."""

    async def find(alias: str, tell: object) -> Service | None:
        return await look_at(server.url + server.prefix)

    return FoundryLocal(alias, find, **options)


async def said(model: FoundryLocal) -> tuple[str, str]:
    """The answer to a question, and the model that the server named."""
    pieces = await events_of(model.stream(MESSAGES, max_tokens=20, temperature=0.0))
    assert isinstance(pieces[-1], Done)
    return "".join(piece.text for piece in pieces if isinstance(piece, Text)).strip(), pieces[-1].model

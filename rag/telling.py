"""Telling how far a long work is while it is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

_EVERY_S = 0.5


async def told(work: Coroutine[Any, Any, None], text: Callable[[], str]) -> AsyncGenerator[str, None]:
    """
    Do some work, yielding a text at first and whenever it has changed.

    Closing the generator cancels the work and waits until it has ended.

    Raises:
        Exception: whatever the work raised.
    """
    task = asyncio.ensure_future(work)
    last = ""
    try:
        while True:
            now = text()
            if now != last:
                last = now
                yield now
            if (await asyncio.wait([task], timeout=_EVERY_S))[0]:
                break
        await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])

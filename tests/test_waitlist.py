"""The waiting line."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from rag.errors import Busy
from rag.waitlist import Waitlist

pytestmark = pytest.mark.anyio


async def places_of(line: Waitlist) -> list[int]:
    """Wait for a slot, noting the places on the way."""
    async with aclosing(line.wait()) as places:
        return [place async for place in places]


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_places_count_down_in_order_of_arrival() -> None:
    """First come, first served, and everybody sees the line move."""
    line = Waitlist(1, limit=10)
    assert await places_of(line) == []
    first, second = (asyncio.create_task(places_of(line)) for _ in range(2))
    await settle()
    line.leave()
    assert await first == [1]
    line.leave()
    assert await second == [2, 1]
    line.leave()
    assert await places_of(line) == []


async def test_one_more_than_the_limit_is_refused() -> None:
    """Better a clear no than an endless line."""
    line = Waitlist(1, limit=1)
    await places_of(line)
    waiting = asyncio.create_task(places_of(line))
    await settle()
    with pytest.raises(Busy, match="1 questions are already waiting"):
        await places_of(line)
    line.leave()
    await waiting


async def test_who_gives_up_leaves_no_hole() -> None:
    """A cancelled waiter's place goes to the next, and no slot is lost."""
    line = Waitlist(1, limit=10)
    await places_of(line)
    first, second = (asyncio.create_task(places_of(line)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    line.leave()
    assert await second == [2, 1]


async def test_who_is_admitted_and_cancelled_at_once_gives_the_slot_back() -> None:
    """Between admission and waking up, Stop must not eat the slot."""
    line = Waitlist(1, limit=10)
    await places_of(line)
    unlucky = asyncio.create_task(places_of(line))
    await settle()
    line.leave()
    unlucky.cancel()
    await settle()
    assert await asyncio.wait_for(places_of(line), 1) == []


async def test_more_slots_admit_those_who_wait_and_fewer_wait_for_those_who_work() -> None:
    """Whoever works goes on; the next comes when there are fewer than the slots."""
    line = Waitlist(2, limit=10)
    await places_of(line)
    await places_of(line)
    line.resize(1)
    third = asyncio.create_task(places_of(line))
    await settle()
    line.leave()
    await settle()
    assert not third.done()
    line.leave()
    assert await third == [1]
    fourth, fifth = (asyncio.create_task(places_of(line)) for _ in range(2))
    await settle()
    line.resize(3)
    assert await fourth == [1]
    assert (await fifth)[0] == 2
    for _ in range(3):
        line.leave()
    assert not line.in_use

"""A fair waiting line with places that can be shown."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from rag.errors import Busy


class Waitlist:
    """
    Lets `slots` callers work at a time and the others wait in order of arrival.

    Args:
        slots: how many may work at the same time.
        limit: how many may wait; one more is refused.
    """

    def __init__(self, slots: int, *, limit: int) -> None:
        self._slots = self._free = slots
        self._limit = limit
        self._line: deque[_Ticket] = deque()

    async def wait(self) -> AsyncGenerator[int, None]:
        """
        Wait for a slot, yielding one's place (1: next) at first and whenever it changes.

        When the iteration ends by itself, the caller has the slot and must `leave`. When it is closed or
        cancelled before, the caller has nothing and must not.

        Raises:
            Busy: the line is full.
        """
        if self._free > 0 and not self._line:
            self._free -= 1
            return
        if len(self._line) >= self._limit:
            raise Busy(
                f"{len(self._line)} questions are already waiting, which is the limit. Please ask again in a minute."
            )
        ticket = _Ticket()
        self._line.append(ticket)
        try:
            while not ticket.admitted:
                yield self._line.index(ticket) + 1
                await ticket.moved.wait()
                ticket.moved.clear()
        except BaseException:
            if ticket.admitted:
                self.leave()
            else:
                self._line.remove(ticket)
                self._tell()
            raise

    def resize(self, slots: int) -> None:
        """Let another number of callers work at a time; those who work already go on."""
        self._free += slots - self._slots
        self._slots = slots
        while self._free > 0 and self._line:
            self._free -= 1
            self._admit()

    @property
    def in_use(self) -> bool:
        """Whether anybody has a slot."""
        return self._free < self._slots

    def leave(self) -> None:
        """Give the slot to the next in line."""
        if not self._line or self._free < 0:  # below zero while more work than there are slots by now
            self._free += 1
            return
        self._admit()

    def _admit(self) -> None:
        ticket = self._line.popleft()
        ticket.admitted = True
        ticket.moved.set()
        self._tell()

    def _tell(self) -> None:
        for ticket in self._line:
            ticket.moved.set()


class _Ticket:
    def __init__(self) -> None:
        self.admitted = False
        self.moved = asyncio.Event()

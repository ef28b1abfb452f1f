"""
The suite that every backend must pass, also one of your own.

    class TestMine(BackendSuite):
        @pytest.fixture
        async def backend(self):
            mine = make()
            await mine.start()
            yield mine
            await mine.stop()
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from rag.backends.base import Backend, Done, Opened, Piece, Reasoning, Text
from rag.errors import ModelError
from tests.conftest import events_of

MESSAGES = [{"role": "user", "content": "Count from one to one hundred, in words."}]
_SOON_S = 3.0


def asked(backend: Backend, *, max_tokens: int = 12) -> AsyncGenerator[Piece, None]:
    """An answer, begun."""
    return backend.stream(MESSAGES, max_tokens=max_tokens, temperature=0.0)


def texts(pieces: Sequence[Piece]) -> list[Text]:
    """What was said."""
    return [piece for piece in pieces if isinstance(piece, Text)]


def children() -> set[str] | None:
    """The processes that this one has started and that live; None where the system does not tell."""
    lists = list(Path("/proc/self/task").glob("*/children"))
    return {pid for one in lists for pid in one.read_text().split()} if lists else None


async def is_freed(tasks: set[asyncio.Task[object]], processes: set[str] | None) -> bool:
    """Whether soon no other tasks and processes are there than these."""
    deadline = time.monotonic() + _SOON_S
    while time.monotonic() < deadline:
        left = (children() or set()) - (processes or set())
        if asyncio.all_tasks() <= tasks | {asyncio.current_task()} and not left:
            return True
        await asyncio.sleep(0.01)
    return False


class BackendSuite:
    """
    What the protocol promises, as tests. Give it a fixture `backend`, started, that answers in at least 3 pieces.

    Give it a fixture `broken` too, a backend that fails while it answers, or that test is skipped.
    """

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def broken(self) -> Backend:
        """A backend that fails; the suite's user overrides it."""
        pytest.skip("no backend that fails was given")

    async def test_it_says_what_it_is_and_where(self, backend: Backend) -> None:
        """Both stand on the page."""
        assert backend.label.strip()
        assert backend.where.strip()
        assert backend.ready

    async def test_pieces_come_in_order(self, backend: Backend) -> None:
        """`Opened`, perhaps `Reasoning`, at least one `Text`, none empty, and one `Done`, last, with a model's name."""
        first, *said, last = await events_of(asked(backend))
        assert isinstance(first, Opened)
        assert all(isinstance(piece, Text | Reasoning) and piece.text for piece in said)
        assert texts(said)
        assert isinstance(last, Done)
        assert last.model.strip()
        assert last.finish
        if last.usage:
            assert last.usage.prompt >= 0
            assert last.usage.completion > 0

    async def test_log_probabilities_are_plausible_or_none(self, backend: Backend) -> None:
        """As many as a text may have tokens, none above 0; the likeliest ones beside them, highest first."""
        for text in texts(await events_of(asked(backend))):
            if text.logprobs is not None:
                assert 1 <= len(text.logprobs) <= len(text.text.encode())
                assert all(math.isfinite(one) and one <= 0 for one in text.logprobs)
            if text.tops is not None:
                assert len(text.tops) == len(text.logprobs or ())
                assert all(list(top) == sorted(top, reverse=True) for top in text.tops)

    async def test_the_limit_of_tokens_is_kept_roughly(self, backend: Backend) -> None:
        """A token is a piece, or a log-probability, or about four letters; twice as many are let pass."""
        pieces = await events_of(asked(backend, max_tokens=3))
        said = texts(pieces)
        assert min(len(said), len("".join(text.text for text in said)) / 4) <= 2 * 3
        counted = [text.logprobs for text in said if text.logprobs]
        assert sum(map(len, counted)) <= 2 * 3
        longer = texts(await events_of(asked(backend, max_tokens=24)))
        assert len("".join(text.text for text in longer)) > len("".join(text.text for text in said))

    async def test_closing_in_the_middle_ends_the_work_and_frees_what_it_held(self, backend: Backend) -> None:
        """At once, not when the answer would have been whole; and the next one is answered."""
        await events_of(asked(backend, max_tokens=3))  # what it keeps from its first answer on is no leak
        tasks, processes = asyncio.all_tasks(), children()
        stream = asked(backend, max_tokens=400)
        while not isinstance(await anext(stream), Text):
            pass
        began = time.monotonic()
        await stream.aclose()
        assert time.monotonic() - began < 1
        assert await is_freed(tasks, processes)
        assert isinstance((await events_of(asked(backend, max_tokens=4)))[-1], Done)

    async def test_a_cancelled_reader_ends_the_work_too(self, backend: Backend) -> None:
        """As Stop does it, wherever the reader was waiting."""
        await events_of(asked(backend, max_tokens=3))
        tasks, processes = asyncio.all_tasks(), children()
        begun = asyncio.Event()

        async def read() -> None:
            stream = asked(backend, max_tokens=400)
            try:
                async for _ in stream:
                    begun.set()
            finally:
                await stream.aclose()

        reader = asyncio.create_task(read())
        async with asyncio.timeout(30):
            await begun.wait()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        assert await is_freed(tasks, processes)
        assert isinstance((await events_of(asked(backend, max_tokens=4)))[-1], Done)

    async def test_two_answers_at_once_do_not_mix(self, backend: Backend) -> None:
        """Each is whole, and ends by itself."""
        alone = "".join(text.text for text in texts(await events_of(asked(backend))))
        for pieces in await asyncio.gather(events_of(asked(backend)), events_of(asked(backend))):
            assert isinstance(pieces[0], Opened)
            assert [piece for piece in pieces if isinstance(piece, Done)] == pieces[-1:]
            assert len("".join(text.text for text in texts(pieces))) <= 2 * len(alone)

    async def test_a_failure_is_a_model_error(self, broken: Backend) -> None:
        """One sentence for a reader, after whatever was said before; nothing of it is left behind."""
        tasks, processes = asyncio.all_tasks(), children()
        with pytest.raises(ModelError) as raised:
            await events_of(asked(broken))
        assert str(raised.value).strip()
        assert "Traceback" not in str(raised.value)
        assert await is_freed(tasks, processes)

    async def test_starting_twice_is_starting_once(self, backend: Backend) -> None:
        """`start` says nothing new the second time."""
        processes = children()
        label = backend.label
        await backend.start()
        await backend.start()
        assert backend.ready
        assert backend.label == label
        assert children() == processes

    async def test_it_stops_and_starts_again(self, backend: Backend) -> None:
        """Stopping frees everything that starting took, also when there is nothing left to stop."""
        await backend.stop()
        await backend.stop()
        tasks, processes = asyncio.all_tasks(), children()
        await backend.start()
        assert backend.ready
        assert isinstance((await events_of(asked(backend, max_tokens=4)))[-1], Done)
        await backend.stop()
        assert await is_freed(tasks, processes)

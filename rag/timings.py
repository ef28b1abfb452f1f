"""Where the milliseconds of an answer went."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """
    One stretch of an answer's time.

    Attributes:
        name: `queue, rewrite, search, evidence, prompt, load, send, first_token, reasoning, generate, judge`, and
            the same for the large model with the prefix `llm_`. `first_token` ends with the model's first word, be it
            of its reasoning; `reasoning` ends with the first word of its answer.
        start_s: seconds from the question to its start.
        seconds: how long it took.
    """

    name: str
    start_s: float
    seconds: float


@dataclass(frozen=True)
class Timings:
    """
    An answer's time, in seconds.

    Attributes:
        stages: in order; they do not overlap and leave no gap, so they sum to `total_s`.
        ttft_s: question received to first visible text; None if there was none.
        total_s: question received to the answer being complete.
    """

    stages: tuple[Stage, ...]
    ttft_s: float | None
    total_s: float

    def to_json(self) -> dict[str, Any]:
        """As in the message metadata: milliseconds, fine enough that stages of microseconds sum to their total."""
        return {
            "total_ms": _ms(self.total_s),
            "ttft_ms": None if self.ttft_s is None else _ms(self.ttft_s),
            "stages": [
                {"name": stage.name, "start_ms": _ms(stage.start_s), "ms": _ms(stage.seconds)} for stage in self.stages
            ],
        }


class Stopwatch:
    """
    Cuts the time since a question was received into stages.

    A lap ends where the next begins, so nothing is counted twice and nothing is missed.

    >>> ticks = iter([0.0, 0.25, 0.5, 0.75])
    >>> watch = Stopwatch(clock=lambda: next(ticks))
    >>> watch.lap("search"), watch.saw_text(), watch.lap("generate")
    (None, None, None)
    >>> watch.timings().ttft_s, [stage.seconds for stage in watch.timings().stages]
    (0.5, [0.25, 0.5])
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._received = clock()
        self._last = self._received
        self._first_text: float | None = None
        self._stages: list[Stage] = []

    def lap(self, name: str) -> None:
        """End the stage `name` now; it began where the last one ended. A stage that comes twice in a row grows."""
        now = self._clock()
        stages, start = self._stages, self._last
        if stages and stages[-1].name == name:
            start = self._received + stages.pop().start_s
        stages.append(Stage(name, start - self._received, now - start))
        self._last = now

    def saw_text(self) -> None:
        """Note that visible text is here; only the first time counts."""
        if self._first_text is None:
            self._first_text = self._clock()

    def elapsed_s(self) -> float:
        """Seconds since the question was received."""
        return self._clock() - self._received

    def timings(self) -> Timings:
        """What was measured up to the last lap."""
        ttft = None if self._first_text is None else self._first_text - self._received
        return Timings(tuple(self._stages), ttft, self._last - self._received)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 4)

"""The stopwatch."""

from __future__ import annotations

import pytest

from rag.timings import Stopwatch


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_stages_leave_no_gap_and_sum_to_the_total() -> None:
    """Whatever happens between two laps belongs to the later one."""
    clock = Clock()
    watch = Stopwatch(clock=clock)
    for name, seconds in [("search", 0.002), ("evidence", 0.001), ("send", 0.05), ("generate", 1.2)]:
        clock.now += seconds
        watch.lap(name)
    timings = watch.timings()
    assert [stage.name for stage in timings.stages] == ["search", "evidence", "send", "generate"]
    assert sum(stage.seconds for stage in timings.stages) == pytest.approx(timings.total_s)
    assert timings.stages[2].start_s == pytest.approx(0.003)


def test_the_first_text_counts_once() -> None:
    """TTFT is the question's first visible text, also when a second model writes again."""
    clock = Clock()
    watch = Stopwatch(clock=clock)
    clock.now += 0.25
    watch.saw_text()
    clock.now += 1.0
    watch.saw_text()
    assert watch.timings().ttft_s == pytest.approx(0.25)


def test_no_text_has_no_ttft() -> None:
    """Nothing shown is None, not zero."""
    assert Stopwatch().timings().ttft_s is None


def test_a_stage_that_comes_twice_in_a_row_is_one_stage() -> None:
    """Judging and citing are both 'judge'."""
    clock = Clock()
    watch = Stopwatch(clock=clock)
    for _ in range(2):
        clock.now += 0.5
        watch.lap("judge")
    (stage,) = watch.timings().stages
    assert (stage.start_s, stage.seconds) == (0.0, 1.0)


def test_json_is_in_milliseconds() -> None:
    """Seconds in code, milliseconds on screen and in JSON."""
    clock = Clock()
    watch = Stopwatch(clock=clock)
    clock.now += 0.0123456
    watch.saw_text()
    watch.lap("search")
    assert watch.timings().to_json() == {
        "total_ms": 12.3456,
        "ttft_ms": 12.3456,
        "stages": [{"name": "search", "start_ms": 0.0, "ms": 12.3456}],
    }

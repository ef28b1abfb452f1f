"""The speed of models, one after the other: a warm-up, rounds of the same prompts, and a row of figures for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean, quantiles
from typing import Any

from rag.errors import ModelError, ModelUnavailable
from rag.workbench.contenders import Contender, machine
from rag.workbench.promptset import Prompt
from rag.workbench.speed import Call, timed_call, warm_up

_SAMPLE_CHARS = 200
# A model that fails so often without an answer between is given up: each failure may cost minutes of waiting.
_MOST_FAILURES = 2


@dataclass(frozen=True)
class Plan:
    """
    What each model is asked.

    Attributes:
        prompts: in order; at least one.
        rounds: how many times each is asked.
        max_tokens: the longest answer.
        temperature: of the models.
        first_text: whether the time of the first text is taken, and what is made of it.
        label: what the user calls this run, such as `gpu`; None: nothing.
    """

    prompts: Sequence[Prompt]
    rounds: int = 3
    max_tokens: int = 120
    temperature: float = 0.2
    first_text: bool = True
    label: str | None = None

    @property
    def calls(self) -> int:
        """How many calls each model gets, the warm-up apart."""
        return self.rounds * len(self.prompts)


class Bench:
    """
    Measures models one after the other; what is measured can be read at any time, also after a stop.

    Args:
        contenders: the models.
        plan: what each is asked.
        step: is told of so many calls that are done, or given up.
        clock: seconds, from anywhere.
        now: the time of day.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        plan: Plan,
        *,
        step: Callable[[int], None] = lambda count: None,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._contenders = contenders
        self._plan = plan
        self._step = step
        self._clock = clock
        self._now = now
        self._measured: list[_Measured] = []

    async def run(self) -> None:
        """Measure all. A model that fails is noted as such, and the next one is measured."""
        for contender in self._contenders:
            one = _Measured(contender, self._now().astimezone().isoformat(timespec="seconds"))
            self._measured.append(one)
            try:
                await self._ask(one)
                one.over = True
            finally:
                one.memory_mb = contender.memory_mb
                await contender.unload()
            self._step(self._plan.calls - one.tried)  # those that it was given up before

    def rows(self) -> list[dict[str, Any]]:
        """A row for each model that is measured or has failed, the workshop's names first; seconds, and tokens."""
        return [_row(one, self._plan) for one in self._measured if one.over or one.calls]

    async def _ask(self, one: _Measured) -> None:
        backend = one.contender.backend
        if backend is None:
            one.error = one.contender.fault
            return
        failures = 0
        plan = self._plan
        try:
            await warm_up(backend)
        except ModelUnavailable as error:
            one.error = str(error)
            return
        except ModelError as error:  # a model that is just being loaded may still do
            one.error = str(error)
            failures = 1
        for prompt in [prompt for _ in range(plan.rounds) for prompt in plan.prompts]:
            try:
                call = await timed_call(
                    backend,
                    [{"role": "user", "content": prompt.text}],
                    max_tokens=plan.max_tokens,
                    temperature=plan.temperature,
                    limited_by="--max-tokens",
                    clock=self._clock,
                )
            except ModelError as error:
                one.error = str(error)
                failures += 1
            else:
                one.calls.append((prompt, call))
                failures = 0
            one.tried += 1
            self._step(1)
            if failures >= _MOST_FAILURES:
                return


@dataclass
class _Measured:
    contender: Contender
    when: str
    calls: list[tuple[Prompt, Call]] = field(default_factory=list)
    tried: int = 0
    error: str | None = None
    memory_mb: float | None = None
    over: bool = False


def _row(one: _Measured, plan: Plan) -> dict[str, Any]:
    calls = [call for _, call in one.calls]
    whole = len(calls) == plan.calls
    latency = _figures([call.total_s for call in calls])
    first = _figures([call.ttft_s for call in calls] if plan.first_text else [])
    usages = [call.usage for call in calls if call.usage]
    counted = {call.counted for call in calls}
    asked = [prompt.id for prompt, _ in one.calls]
    shares = [share for prompt, call in one.calls if (share := prompt.facets_in(call.text)) is not None]
    error = None if whole else one.error or (None if one.over else "Stopped before all rounds were done.")
    return {
        "alias": one.contender.alias,
        "latency_avg": latency["avg"],
        "latency_p95": latency["p95"],
        "tokens_per_sec_avg": _mean([call.tokens_per_s for call in calls], 2),
        "rounds": plan.rounds,
        "first_token_latency_avg": first["avg"],
        "status": "ok" if whole else "partial" if calls else "failed",
        "error": error,
        "label": plan.label,
        "model": calls[-1].model if calls else None,
        "where": one.contender.where,
        "rounds_ok": min(asked.count(prompt.id) for prompt in plan.prompts),
        "latency_p50": latency["p50"],
        "latency_min": latency["min"],
        "latency_max": latency["max"],
        "first_token_latency_p50": first["p50"],
        "first_token_latency_p95": first["p95"],
        "first_token_latency_min": first["min"],
        "first_token_latency_max": first["max"],
        "decode_tokens_per_sec_avg": _mean([call.decode_per_s for call in calls] if plan.first_text else [], 2),
        "workshop_tokens_per_sec_avg": _mean([call.workshop_tokens_per_s for call in calls], 2),
        "prompt_tokens_avg": _mean([usage.prompt for usage in usages], 1),
        "completion_tokens_avg": _mean([call.completion for call in calls], 1),
        "reasoning_tokens_avg": _mean([call.reasoning for call in calls], 1),
        "tokens_counted": None if not calls else "server" if counted == {"server"} else "pieces",
        "memory_mb": one.memory_mb,
        "disk_mb": one.contender.disk_mb,
        "facets": _mean(shares, 4),
        "prompts": len(plan.prompts),
        "max_tokens": plan.max_tokens,
        "temperature": plan.temperature,
        "sample": calls[0].text.strip()[:_SAMPLE_CHARS] if calls else None,
        "when": one.when,
        "machine": machine(),
    }


def _figures(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return dict.fromkeys(("avg", "p50", "p95", "min", "max"))
    # Between the two nearest values, as numpy does it; of a single one, that one.
    cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    found = {"avg": fmean(values), "p50": cuts[49], "p95": cuts[94], "min": min(values), "max": max(values)}
    return {name: round(value, 4) for name, value in found.items()}


def _mean(values: Sequence[float | None], digits: int) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), digits) if known else None

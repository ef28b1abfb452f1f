"""What a trace says of an answer: its steps, with their models, times and tokens, and no word of any text."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from rag.backends.base import Backend, Usage
from rag.cards import Capability
from rag.events import Answer
from rag.settings import Mode
from rag.timings import Stage

_STEPS = {
    "rewrite": "search", "search": "search", "evidence": "search",
    "queue": "queue", "load": "load", "llm_load": "load",
    "send": "draft", "first_token": "draft", "reasoning": "draft", "generate": "draft",
    "llm_send": "large", "llm_first_token": "large", "llm_reasoning": "large", "llm_generate": "large",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """
    A model, as it was asked.

    Attributes:
        alias: the name that was sent.
        where: where it runs, in words.
    """

    alias: str
    where: str

    @classmethod
    def of(cls, backend: Backend | None) -> Asked | None:
        """The model of a backend, if there is one."""
        return cls(getattr(backend, "alias", backend.label), backend.where) if backend else None


@dataclass(frozen=True)
class Step:
    """
    One step of an answer.

    Attributes:
        name: `queue`, `load`, `search`, `draft`, `escalate`, `refine`, or `large` for a large model asked at once.
        start_s: seconds from the question to its start.
        seconds: how long it took.
        ttft_s: seconds from its request to its first text; None without a model or without a text.
        asked: the model; None if the step has none.
        model: its name as the server reported it, or as it was asked for if nothing was reported.
        usage: tokens; None if the server did not count.
    """

    name: str
    start_s: float
    seconds: float
    ttft_s: float | None = None
    asked: Asked | None = None
    model: str = ""
    usage: Usage | None = None


@dataclass(frozen=True)
class Entry:
    """
    One answer, for the trace.

    Attributes:
        steps: in the order in which they happened.
        seconds: from the question to the end.
        mode: which models were allowed.
        answer: None if it was stopped or failed.
        status: that of the answer; else `stopped` or `failed`.
        when: when the question was received, in seconds since 1970.
        intent: what the question wanted of a model; see `rag.cards`.
        answer_id: what joins the lines of one answer.
    """

    steps: tuple[Step, ...]
    seconds: float
    mode: Mode
    answer: Answer | None
    status: str
    when: float
    intent: Capability
    answer_id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def route(self) -> str | None:
        """Which way the answer took; None if it did not arrive."""
        return self.answer.route if self.answer else None

    @property
    def usage(self) -> Usage | None:
        """The tokens of all models together; None if one of them was not counted, or none was asked."""
        counted = [step.usage for step in self.steps if step.asked]
        known = [usage for usage in counted if usage]
        if not known or len(known) < len(counted):
            return None
        return Usage(sum(one.prompt for one in known), sum(one.completion for one in known))

    def lines(self) -> list[dict[str, Any]]:
        """A line for each step, and one for the whole answer, which is named `answer`."""
        answer = self.answer
        whole = Step(
            "answer",
            0.0,
            self.seconds,
            answer.timings.ttft_s if answer else None,
            model=answer.model if answer else "",
            usage=self.usage,
        )
        confidence = answer.confidence if answer else None
        return [
            *(self._line(step) for step in self.steps),
            self._line(whole)
            | {
                "status": self.status,
                "confidence": round(confidence.value, 4) if confidence else None,
                "signal": confidence.signal if confidence else None,
                "cloud_equivalent_usd": answer.cost.cloud_equivalent if answer else None,
            },
        ]

    def _line(self, step: Step) -> dict[str, Any]:
        began = datetime.fromtimestamp(self.when + step.start_s, UTC)
        return {
            "step": step.name,
            "intent": self.intent,
            "alias": step.asked.alias if step.asked else None,
            "latency_ms": _ms(step.seconds),
            "tokens": step.usage.to_json() if step.usage else None,
            "ttft_ms": None if step.ttft_s is None else _ms(step.ttft_s),
            "model": step.model or None,
            "route": self.route,
            "mode": self.mode,
            "when": began.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "answer_id": self.answer_id,
        }


def entry_of(
    answer: Answer | None,
    stages: Sequence[Stage],
    *,
    elapsed_s: float,
    when: float,
    mode: Mode,
    intent: Capability,
    slm: Asked | None,
    llm: Asked | None,
    failed: bool = False,
) -> Entry:
    """
    Note an answer.

    Args:
        answer: None if it did not arrive.
        stages: where its time went.
        elapsed_s: seconds from the question to its end.
        when: when the question was received, in seconds since 1970.
        mode: which models were allowed.
        intent: what the question wanted of a model.
        slm, llm: the models that could be asked.
        failed: whether an error ended it, for one that did not arrive.
    """
    steps: list[Step] = []
    for stage in stages:
        name = _STEPS.get(stage.name)
        if name and steps and steps[-1].name == name:
            grown = replace(steps[-1], seconds=stage.start_s + stage.seconds - steps[-1].start_s)
            steps[-1] = _with_text(grown, stage)
        elif name:
            steps.append(_with_text(Step(name, stage.start_s, stage.seconds), stage))
    if answer is None and steps and steps[-1].name in ("draft", "large"):
        steps[-1] = replace(steps[-1], seconds=elapsed_s - steps[-1].start_s)  # it was writing when it was ended
    drafted = False
    for place, step in enumerate(steps):
        if step.name == "draft":
            drafted = True
            steps[place] = _by(step, slm, answer.slm if answer else "", answer.usage_slm if answer else None)
        elif step.name == "large":
            polished = drafted and answer is not None and answer.route in ("refined", "slm")
            named = replace(step, name="large" if mode == "llm" else "refine" if polished else "escalate")
            steps[place] = _by(named, llm, answer.llm if answer else "", answer.usage_llm if answer else None)
    status = answer.status if answer else "failed" if failed else "stopped"
    return Entry(tuple(steps), elapsed_s, mode, answer, status, when, intent)


def _with_text(step: Step, stage: Stage) -> Step:
    if not stage.name.endswith(("first_token", "reasoning")):  # the latter ends with the answer's first text
        return step
    return replace(step, ttft_s=stage.start_s + stage.seconds - step.start_s)


def _by(step: Step, asked: Asked | None, model: str, usage: Usage | None) -> Step:
    return replace(step, asked=asked, model=model or (asked.alias if asked else ""), usage=usage)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)

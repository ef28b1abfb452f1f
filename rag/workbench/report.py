"""The figures of a report on models side by side: a line a model, what differs between runs, and what to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rag.cards import Cards
from rag.workbench.blend import Mix, blended
from rag.workbench.recordings import Measured, Recordings
from rag.workbench.selection import Line, Prices, joined, selection, short, tidy

#: With fewer rounds, a difference is named with a caution.
FEW = 5
_NEAR = 0.9  # of the best quality is within a tenth of it
_ALIKE = 0.05
_MEASURES = {
    "answer_contains": "of the known answers",
    "facets": "of the expected facets",
    "rubric": "of 5 on average for coherence, factuality and brevity",
}


@dataclass(frozen=True)
class Pair:
    """
    The same model under two labels.

    Attributes:
        latency_first, latency_second: seconds, on average.
        latency_ratio, ttft_ratio, tokens_ratio: of the second to the first; None if one is not known.
        text: the same in a sentence.
        cautions: sentences on why the difference may not be what it seems.
    """

    alias: str
    first: str
    second: str
    latency_first: float | None
    latency_second: float | None
    latency_ratio: float | None
    ttft_ratio: float | None
    tokens_ratio: float | None
    text: str
    cautions: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """
    All figures.

    Attributes:
        lines: one a model and label, in the order of the files.
        pairs: the same model under two labels.
        mixes: the averages of evaluations.
        choice: sentences that say which model is the quickest, which the best, as far as the figures do.
        energy: what can be said of it.
        notes: what somebody should know before trusting the figures.
    """

    lines: tuple[Line, ...]
    pairs: tuple[Pair, ...]
    mixes: tuple[Mix, ...]
    choice: tuple[str, ...]
    watts: float | None
    energy: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `rag report --format json` prints it: seconds, US cents, shares of 0 to 1; null is not known."""
        return {
            "models": [line.to_json() for line in self.lines],
            "side_by_side": [tidy(asdict(pair)) for pair in self.pairs],
            "mixes": [tidy(asdict(mix)) for mix in self.mixes],
            "choice": list(self.choice),
            "energy": {"watts": self.watts, "text": self.energy},
            "notes": list(self.notes),
        }


def reported(
    found: Recordings,
    *,
    cards: Cards | None = None,
    prices: Prices | None = None,
    watts: float | None = None,
    slm: str | None,
    llm: str,
) -> Report:
    """
    The report on some recordings.

    Args:
        cards: what is known of models; None: nothing.
        prices: for models whose card has none; None: not known.
        watts: the power that a machine draws while it answers.
        slm, llm: the aliases of the two models of a hybrid run, where the run does not say; None: not known.
    """
    lines = selection(found, cards=cards or Cards(None), prices=prices, watts=watts)
    mixes = [blended(one, lines, others=found.evaluated, prices=prices, slm=slm, llm=llm) for one in found.evaluated]
    return Report(
        tuple(lines), tuple(_pairs(lines)), tuple(mixes), tuple(_choices(lines)), watts, _energy_note(watts),
        (*found.notes, *_notes(lines)),
    )  # fmt: skip


def _energy_note(watts: float | None) -> str:
    if watts is None:
        return (
            "Energy was not measured. On one machine under one load it is about proportional to the time of an answer; "
            "between machines it is not. With --watts N, the report reckons it from the power that you name."
        )
    return (
        f"Energy was not measured. It is reckoned as the average time of an answer times {watts:g} W, the power that "
        "was named with --watts, the same for every model and machine."
    )


def _pairs(lines: Sequence[Line]) -> list[Pair]:
    found = []
    groups: dict[tuple[str, str], list[Measured]] = {}
    for line in lines:
        if not line.measured.failed:
            groups.setdefault((line.measured.alias, line.kind), []).append(line.measured)
    for (alias, _), runs in groups.items():
        first, *others = runs
        for other in others:
            latency = _ratio(other.latency_avg, first.latency_avg)
            tokens = None if first.workshop != other.workshop else _ratio(_rate(other), _rate(first))
            ttft = _ratio(other.first_token_latency_avg, first.first_token_latency_avg)
            text = _said(alias, first, other, latency, tokens)
            found.append(
                Pair(
                    alias, first.label, other.label, first.latency_avg, other.latency_avg, latency, ttft, tokens, text,
                    tuple(_cautions(first, other)),
                )
            )  # fmt: skip
    return found


def _rate(one: Measured) -> float | None:
    return one.tokens_per_sec_avg if one.decode_tokens_per_sec_avg is None else one.decode_tokens_per_sec_avg


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def _said(alias: str, first: Measured, other: Measured, latency: float | None, tokens: float | None) -> str:
    if latency is None:
        return f"{alias}: {other.label} and {first.label} cannot be compared, as a time is 0."
    times = f"({short(other.latency_avg)} s against {short(first.latency_avg)} s)"
    if abs(latency - 1) <= _ALIKE:
        said = f"{alias}: {other.label} takes about as long as {first.label} {times}"
    elif latency < 1 and latency:
        said = f"{alias}: {other.label} is {short(1 / latency)} times as fast as {first.label} {times}"
    else:
        said = f"{alias}: {other.label} takes {short(latency)} times as long as {first.label} {times}"
    more = f", and writes {short(tokens)} times as many tokens a second" if tokens is not None else ""
    return f"{said}{more}."


def _cautions(first: Measured, other: Measured) -> list[str]:
    found = []
    if first.machine is None or other.machine is None:
        found.append("On which machine both were measured is not recorded.")
    elif first.machine != other.machine:
        found.append(f"The machines differ: {first.machine}, and {other.machine}.")
    fewest = min((one.calls for one in (first, other) if one.calls is not None), default=None)
    if fewest is not None and fewest < FEW:
        answers = f"{fewest:g} answer{'s' * (fewest != 1)}"
        found.append(f"One is of {answers} only; below {FEW}, the difference may be chance.")
    if overlap(first, other):
        found.append("The times of the two overlap, so the slower one was at times the quicker.")
    if first.asked == other.asked == "{}":
        found.append("What both were asked is not recorded.")
    elif first.asked != other.asked:
        found.append("They were not asked the same, or not with the same limits.")
    if first.model and other.model and first.model != other.model:
        found.append(f"The models behind the alias differ: {first.model}, and {other.model}.")
    if first.workshop != other.workshop:
        found.append("One counts the prompt's tokens in its tokens a second, so these are not compared.")
    return found


def overlap(one: Measured, other: Measured) -> bool:
    """Whether the ranges of two latencies overlap; False if one is not known."""
    ends = (one.latency_min, one.latency_max, other.latency_min, other.latency_max)
    match ends:
        case (float(low), float(high), float(other_low), float(other_high)):
            return low <= other_high and other_low <= high
    return False


def _choices(lines: Sequence[Line]) -> list[str]:
    # Only what one run measured is compared, or what was asked the same on one machine.
    for kind in ("bench", "compare", "eval"):
        own = [line for line in lines if line.kind == kind and not line.measured.failed]
        if len({line.measured.alias for line in own}) < 2:
            continue
        groups: dict[str, list[Line]] = {}
        for line in own:
            groups.setdefault(line.measured.label, []).append(line)
        whole = {label: group for label, group in groups.items() if len(group) > 1}
        if whole:
            many = len(groups) > 1
            return [_choice(group, f"Under {label}: " if many else "") for label, group in whole.items()]
        machines = {line.measured.machine for line in own}
        if len(machines) > 1 or None in machines:
            return ["No model is called the quickest: they were not measured in one run, nor on one known machine."]
        return [_choice(own, "")]
    return []


def _choice(lines: Sequence[Line], before: str) -> str:
    if len({line.measured.asked for line in lines}) > 1:
        return f"{before}No model is called the quickest: they were not asked the same."
    quick = sorted(lines, key=_seconds)
    first, second = quick[0], quick[1]
    doubt = f", though its times overlap with those of {second.measured.alias}"
    close = overlap(first.measured, second.measured)
    said = f"{first.measured.alias} is the quickest ({short(_seconds(first))} s on average{doubt if close else ''})"
    measure = _measure(lines)
    if measure is None:
        return f"{before}{said}. Which is the best is not known: no two models have the same measure of quality."
    known = [(line, value) for line in quick if (value := line.quality(measure)) is not None]
    most = max(value for _, value in known)
    if not most:
        return f"{before}{said}. Which is the best is not known: each has 0 {_MEASURES[measure]}."
    best = [line.measured.alias for line, value in known if value == most]
    near = next(line.measured.alias for line, value in known if value >= _NEAR * most - 1e-9)
    figure = short(most) if measure == "rubric" else f"{most * 100:.0f} %"
    verb = f"{'is' if len(best) == 1 else 'are'} the best ({figure} {_MEASURES[measure]})"
    left = [line.measured.alias for line in quick if line.quality(measure) is None]
    behind = f" The quality of {joined(left)} is not known." if left else ""
    return f"{before}{said}, {joined(best)} {verb}, and {near} is the quickest within a tenth of the best.{behind}"


def _seconds(line: Line) -> float:
    return line.measured.latency_avg or 0.0


def _measure(lines: Sequence[Line]) -> str | None:
    # The one that most models have.
    counts = {name: sum(line.quality(name) is not None for line in lines) for name in _MEASURES}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] > 1 else None


def _notes(lines: Sequence[Line]) -> list[str]:
    found = []
    if old := sorted({line.measured.file for line in lines if line.measured.workshop}):
        found.append(
            f"In {joined(old)}, as the workshop's script writes it, the tokens a second count the prompt's too, and "
            "the TTFT is of another call than the latency."
        )
    if guessed := sorted({line.measured.alias for line in lines if line.measured.tokens_counted == "pieces"}):
        found.append(
            f"The tokens of {joined(guessed)} are an estimate: its server did not count them, or not its reasoning."
        )
    for line in lines:
        one = line.measured
        if one.failed:
            found.append(f"{one.alias} ({one.label}) gave no answer: {(one.error or 'no reason is recorded')[:300]}")
        elif one.error or (one.rounds and one.rounds_ok is not None and one.rounds_ok < one.rounds):
            found.append(f"{one.alias} ({one.label}) did not get to its end: {(one.error or 'a round failed')[:300]}")
    priced = sorted({line.prices.said_by for line in lines if line.prices and line.cents is not None})
    if priced:
        found.append(f"Costs are hypothetical: the same tokens at the prices of {joined(priced)}.")
    if len(machines := sorted({line.measured.machine for line in lines if line.measured.machine})) > 1:
        found.append(f"Not all was measured on one machine: {'; '.join(machines)}.")
    return found

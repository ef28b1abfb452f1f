"""Blended averages: what a question costs in seconds and cents at the mix of a hybrid run, and with the LLM alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rag.workbench.recordings import Evaluated
from rag.workbench.rows import FAILED, Row
from rag.workbench.selection import CARD, Line, Prices, joined, short

# The large model may have failed on a few questions; where it was timed on fewer, an average would be of others.
_LEAST = 0.9


@dataclass(frozen=True)
class Mix:
    """
    The averages of one evaluation. None is not known.

    Attributes:
        label: of the run.
        questions: how many were asked and not refused.
        shares: of them by route, 0 to 1.
        kept, escalated: the share that the SLM answered, and that the LLM answered or polished.
        answer_contains: the share of the answerable questions whose answer has a known answer; `f1` as SQuAD counts it.
        seconds, cents: a question at this mix; cents are those of the LLM, and of the SLM if its card has a price.
        always_seconds, always_cents: a question if the LLM answered each.
        measured: whether `seconds` was measured; otherwise it is reckoned of other runs.
        text: the comparison in a sentence.
        notes: where the figures come from, in sentences.
    """

    label: str
    questions: int
    shares: dict[str, float]
    kept: float
    escalated: float
    answer_contains: float | None
    f1: float | None
    seconds: float | None
    cents: float | None
    always_seconds: float | None
    always_cents: float | None
    measured: bool
    text: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Side:
    seconds: float | None = None
    cents: float | None = None
    notes: tuple[str, ...] = ()


def blended(
    run: Evaluated,
    lines: Sequence[Line],
    *,
    others: Sequence[Evaluated] = (),
    prices: Prices | None = None,
    slm: str | None,
    llm: str,
) -> Mix:
    """
    The averages of an evaluation.

    A trace has the times of its questions. Of a trace without the LLM's, and of figures, which have no average time,
    the rest is taken from what other recordings say of the two models.

    Args:
        lines: the models that were measured.
        others: further evaluations; one of mode `llm` has the LLM's times.
        prices: of the LLM's tokens, where its card has none.
        slm, llm: the aliases of the two, where the run does not say.
    """
    small_name = run.models[0] if run.models else slm
    large_name = run.large_model or (run.models[1] if len(run.models) > 1 else llm)
    small = _found(lines, small_name) if small_name else None
    large = _found(lines, large_name)
    own = large.prices if large and large.prices else prices
    # Of the small model only a card's price counts: it runs on the reader's own machine.
    paid = small.prices if small and small.prices and small.prices.said_by == CARD else None
    counts = {route: count for route, count in run.routes.items() if route != FAILED and count}
    questions = sum(counts.values())
    shares = {route: count / questions for route, count in counts.items()} if questions else {}
    answered = [row for row in run.rows if row.route != FAILED]
    asked_large = sum(shares.get(route, 0.0) for route in ("escalated", "refined", "llm"))
    if run.rows:
        here = _Side(_mean([row.total_ms / 1000 for row in answered]), _cents(answered, own, paid))
    else:
        here = _reckoned(shares, small, large, small_name, large_name)
    always = _always(run, answered, others, own, large, large_name)
    notes = [*here.notes, *always.notes]
    if here.cents is not None or always.cents is not None:
        said = f"the large model's tokens at the prices of {own.said_by}" if own else "tokens of the small model alone"
        notes.append(
            f"Cents are hypothetical: {said}; the small model runs on your own machine and "
            f"{'its tokens are paid at the prices of its card' if paid else 'its tokens are not paid for'}."
        )
    if shares.get("quoted") and not asked_large:
        notes.append(
            f"{_percent(shares['quoted'])} of the answers are quotations, as no large model was there; with one, most "
            "of them would have been escalated."
        )
    if failed := run.routes.get(FAILED, 0):
        notes.append(f"Left out as refused: {failed} question{'s' * (failed > 1)}.")
    return Mix(
        run.label, questions, shares, shares.get("slm", 0.0), asked_large, run.answer_contains, run.f1,
        here.seconds, here.cents, always.seconds, always.cents, bool(run.rows),
        _text(run, here, always, large_name, alone=not asked_large), tuple(notes),
    )  # fmt: skip


def _found(lines: Sequence[Line], name: str) -> Line | None:
    # A benchmark first: its prompts are the same for both models.
    order = {"bench": 0, "eval": 1, "compare": 2}
    fit = [line for line in lines if line.is_of(name) and line.measured.latency_avg is not None]
    return min(fit, key=lambda line: order[line.kind], default=None)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _cents(rows: Sequence[Row], prices: Prices | None, paid: Prices | None) -> float | None:
    # What one answer of unknown size costs, nobody knows; so the average is not known either.
    total = 0.0
    for row in rows:
        tokens = _tokens(row, "llm")
        small = _tokens(row, "slm")
        if tokens is None or (tokens and prices is None) or (paid and small is None):
            return None
        total += prices.cents(tokens["prompt"], tokens["completion"]) if tokens and prices else 0.0
        total += paid.cents(small["prompt"], small["completion"]) if small and paid else 0.0
    return total / len(rows) if rows else None


def _tokens(row: Row, role: str) -> dict[str, int] | None:
    # {}: it was not asked.
    asks_large = row.route in ("escalated", "refined", "llm")
    used = (row.usage or {}).get(role)
    if used is not None:
        return used
    if role == "llm":
        if not asks_large:
            return {}
        return row.tokens if row.route == "llm" and row.usage is None else None
    return {} if row.draft is None else (row.tokens if not asks_large and row.usage is None else None)


def _reckoned(
    shares: dict[str, float], small: Line | None, large: Line | None, small_name: str | None, large_name: str
) -> _Side:
    asked_small = 1 - shares.get("llm", 0.0)
    asked_large = sum(shares.get(route, 0.0) for route in ("escalated", "refined", "llm"))
    if asked_small and small_name is None:
        return _Side(notes=(
            "The average time at this mix is not known: the figures of eval have none, and do not name the small "
            "model. Name it with --slm, or read a trace of eval instead.",
        ))  # fmt: skip
    missing = [
        name or ""
        for name, line, share in ((small_name, small, asked_small), (large_name, large, asked_large))
        if share and not line
    ]
    if missing:
        return _Side(notes=(
            f"The average time at this mix is not known: the figures of eval have none, and {joined(missing)} "
            f"{'was' if len(missing) == 1 else 'were'} not measured in these files. Read a trace of eval instead.",
        ))  # fmt: skip
    seconds, cents = 0.0, 0.0
    unknown = False
    for line, share in ((small, asked_small), (large, asked_large)):
        if line and share:
            seconds += share * (line.measured.latency_avg or 0.0)
    if large and asked_large:
        unknown = large.cents is None
        cents += asked_large * (large.cents or 0.0)
    if small and small.prices and small.prices.said_by == CARD:
        unknown = unknown or small.cents is None
        cents += asked_small * (small.cents or 0.0)
    names = joined([f"{line.measured.alias} ({line.measured.label})" for line in (small, large) if line])
    return _Side(
        seconds, None if unknown else cents,
        (f"Reckoned of the shares of the routes and the average answers of {names}, to other prompts; an escalated "
         "question takes both models.",),
    )  # fmt: skip


def _always(
    run: Evaluated,
    rows: Sequence[Row],
    others: Sequence[Evaluated],
    prices: Prices | None,
    large: Line | None,
    large_name: str,
) -> _Side:
    same = _same_questions(rows, prices, large_name)
    if same:
        return same
    alone = next((one for one in others if one is not run and one.mode == "llm" and one.rows), None)
    if alone and alone.models[-1].casefold() == large_name.casefold():
        kept = [row for row in alone.rows if row.route != FAILED]
        asked = {row.key for row in kept} == {row.key for row in rows}
        which = "the same questions" if asked else "other questions"
        return _Side(
            _mean([row.total_ms / 1000 for row in kept]), _cents(kept, prices, None),
            (f"Always-LLM is {alone.label}, where {large_name} alone answered {which}.",),
        )  # fmt: skip
    if large:
        return _Side(
            large.measured.latency_avg, large.cents,
            (f"Always-LLM is the average answer of {large_name} in {large.measured.label}, to other prompts.",),
        )  # fmt: skip
    return _Side(notes=(f"The large model, {large_name}, was never measured, so there is nothing to compare with.",))


def _same_questions(rows: Sequence[Row], prices: Prices | None, name: str) -> _Side | None:
    # A question without any evidence is answered by no model, whatever the mode.
    timed = [(row, row.total_ms if _unasked(row) else row.large_ms) for row in rows]
    known = [(row, ms) for row, ms in timed if ms is not None]
    if not any(row.large_ms is not None for row in rows) or len(known) < _LEAST * len(rows):
        return None
    tokens = [{"prompt": 0, "completion": 0} if _unasked(row) else row.large_tokens for row, _ in known]
    counted = [one for one in tokens if one]
    cents = None
    if prices and len(counted) == len(tokens):
        cents = _mean([prices.cents(one["prompt"], one["completion"]) for one in counted])
    return _Side(
        _mean([ms / 1000 for _, ms in known]), cents,
        (f"Always-LLM was timed with {name} on the same questions, {len(known)} of {len(rows)}.",),
    )  # fmt: skip


def _unasked(row: Row) -> bool:
    return row.route == "abstained" and row.draft is None


def _text(run: Evaluated, here: _Side, always: _Side, large_name: str, *, alone: bool) -> str:
    if here.seconds is None and here.cents is None:
        half = (
            ""
            if run.total_ms_p50 is None
            else f"; half of the questions took {short(run.total_ms_p50 / 1000)} s or less"
        )
        return f"{run.label}: what a question takes at this mix is not known{half}."
    said = f"{run.label}: at this mix{', without the large model' * alone}: {_both(here)} a question"
    if always.seconds is None and always.cents is None:
        return f"{said}; {large_name} was not measured, so always-LLM is not known."
    return f"{said}, against {_both(always)} always-LLM."


def _both(side: _Side) -> str:
    seconds = "an unknown time" if side.seconds is None else f"{short(side.seconds)} s"
    cents = "an unknown cost" if side.cents is None else f"{short(side.cents)} ¢"
    return f"{seconds} and {cents}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"

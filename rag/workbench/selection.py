"""What is known of each model, in a line of its own: as it was measured, with its card, quality and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from rag.cards import Cards
from rag.costs import Price, card_price
from rag.workbench.recordings import Evaluated, Measured, Recordings
from rag.workbench.rows import FAILED

#: Where a price of a model's own is said.
CARD = "the model's card"
_FIRST = ("alias", "latency_avg", "latency_p95", "tokens_per_sec_avg", "rounds", "first_token_latency_avg", "status")
_RUBRIC = ("coherence", "factuality", "brevity")


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost in US dollars, and where that is said."""

    prompt: float
    completion: float
    said_by: str

    def cents(self, prompt: float, completion: float) -> float:
        """What so many tokens cost, in US cents."""
        return (Price(self.prompt, self.completion).dollars(prompt, completion) or 0.0) * 100


@dataclass(frozen=True)
class Line:
    """
    A model as one run measured it, with what else is known of it. None is not known.

    Attributes:
        measured: the times, rates and sizes.
        licence, context: of its card; the context in tokens.
        footprint_mb: on the disk, as measured, else as its card says.
        answer_contains, f1: of an evaluation of this model alone, 0 to 1.
        rubric: the mean of its scores, and `scores` each, 1 to 5.
        prices: what its tokens would cost.
        cents: what an answer would cost at them, in US cents.
        wh_per_1000: energy of a thousand answers at the power that was given, in watt hours.
    """

    measured: Measured
    kind: str
    licence: str | None = None
    context: int | None = None
    footprint_mb: float | None = None
    answer_contains: float | None = None
    f1: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    rubric: float | None = None
    prices: Prices | None = None
    cents: float | None = None
    wh_per_1000: float | None = None

    def is_of(self, name: str) -> bool:
        """Whether it is the model of this alias or id."""
        return _is(self.measured, name)

    def quality(self, measure: str) -> float | None:
        """One of the measures of quality, by its name."""
        value = {"answer_contains": self.answer_contains, "facets": self.measured.facets, "rubric": self.rubric}
        return value[measure]

    def to_json(self) -> dict[str, Any]:
        """All of it, in one object, with the names of the workshop first."""
        one = asdict(self.measured)
        del one["asked"]
        own = asdict(self)
        del own["measured"]
        prices = own.pop("prices") or {"prompt": None, "completion": None, "said_by": None}
        names = {"prompt": "price_in", "completion": "price_out", "said_by": "price_from"}
        found = {name: one[name] for name in _FIRST} | one | own | {ours: prices[name] for name, ours in names.items()}
        found["status"] = found["status"] or ("failed" if self.measured.failed else "ok")
        return {name: tidy(value) for name, value in found.items()}


def tidy(value: Any) -> Any:
    """
    A number without the dust of its reckoning; anything else as it is.

    >>> [tidy(value) for value in (3.0, 0.1 + 0.2, None, "3.0")]
    [3, 0.3, None, '3.0']
    """
    if isinstance(value, float):
        return int(value) if value.is_integer() else round(value, 9)
    if isinstance(value, dict):
        return {name: tidy(one) for name, one in value.items()}
    return value


def selection(found: Recordings, *, cards: Cards, prices: Prices | None, watts: float | None) -> list[Line]:
    """
    A line a model and label, in the order of the files; at the end those of evaluations of one model alone.

    Args:
        cards: what is known of models.
        prices: for models whose card has none; None: not known.
        watts: the power that a machine draws while it answers; None: not known.
    """
    lines = [_line(one, one.kind, found, cards, prices) for one in found.measured]
    alone = [one for one in found.evaluated if one.rows and one.mode in ("slm", "llm") and one.models]
    lines += [_line(_as_measured(one), "eval", found, cards, prices) for one in alone]
    if watts is None:
        return lines
    return [replace(line, wh_per_1000=_energy(line.measured.latency_avg, watts)) for line in lines]


def _line(one: Measured, kind: str, found: Recordings, cards: Cards, prices: Prices | None) -> Line:
    card = next((card for name in (one.alias, one.model) if name and (card := cards.of(name))), None)
    own_price = card_price((one.alias, one.model), cards)
    if own_price and own_price.prompt is not None and own_price.completion is not None:
        prices = Prices(own_price.prompt, own_price.completion, CARD)
    own = [run for run in found.evaluated if run.mode in ("slm", "llm") and run.models and _is(one, _alone(run))]
    graded = [other.scores for other in found.measured if other.scores and other.alias == one.alias]
    scores = {name: float(np.mean(known)) for name in _RUBRIC if (known := [s[name] for s in graded if name in s])}
    return Line(
        one, kind,
        licence=(card.licence or None) if card else None,
        context=card.context if card else None,
        footprint_mb=one.disk_mb if one.disk_mb is not None or not card else card.size_mb,
        answer_contains=next((run.answer_contains for run in own), None),
        f1=next((run.f1 for run in own), None),
        scores=scores,
        rubric=float(np.mean(list(scores.values()))) if len(scores) == len(_RUBRIC) else None,
        prices=prices,
        cents=_cents(one, prices),
    )  # fmt: skip


def _cents(one: Measured, prices: Prices | None) -> float | None:
    if prices is None or one.prompt_tokens_avg is None or one.completion_tokens_avg is None:
        return None
    return prices.cents(one.prompt_tokens_avg, one.completion_tokens_avg)


def _alone(run: Evaluated) -> str:
    return run.models[0] if run.mode == "slm" else run.models[-1]


def _is(one: Measured, name: str) -> bool:
    return name.casefold() in (one.alias.casefold(), (one.model or "").casefold())


def _as_measured(run: Evaluated) -> Measured:
    # A model that answered alone: its times are those of whole questions, with the search.
    rows = [row for row in run.rows if row.route != FAILED]
    times = [row.total_ms / 1000 for row in rows]
    firsts = [row.ttft_ms / 1000 for row in rows if row.ttft_ms is not None]
    counted = [row.tokens for row in rows if row.tokens]
    whole = len(counted) == len(rows)
    one = Measured(
        _alone(run), run.label, "bench", run.file, asked=repr(sorted(row.question for row in run.rows)),
        rounds=float(len(run.rows)), rounds_ok=float(len(rows)),
    )  # fmt: skip
    if not times:
        return replace(one, error="every question was refused")
    return replace(
        one,
        latency_avg=float(np.mean(times)), latency_p50=float(np.quantile(times, 0.5)),
        latency_p95=float(np.quantile(times, 0.95)), latency_min=min(times), latency_max=max(times),
        first_token_latency_avg=float(np.mean(firsts)) if firsts else None,
        first_token_latency_p50=float(np.quantile(firsts, 0.5)) if firsts else None,
        first_token_latency_p95=float(np.quantile(firsts, 0.95)) if firsts else None,
        prompt_tokens_avg=float(np.mean([one["prompt"] for one in counted])) if whole else None,
        completion_tokens_avg=float(np.mean([one["completion"] for one in counted])) if whole else None,
    )  # fmt: skip


def _energy(latency_s: float | None, watts: float) -> float | None:
    return None if latency_s is None else latency_s * watts * 1000 / 3600


def joined(names: Sequence[str]) -> str:
    """
    Names in a sentence.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def short(value: float | None) -> str:
    """
    A number with two or three digits that matter, never with an exponent; – if it is not known.

    >>> [short(value) for value in (None, 0.0, 0.000123, 0.0456, 1.234, 12.34, 1234.5)]
    ['–', '0', '0.00012', '0.046', '1.23', '12.3', '1,234']
    """
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if value >= 100:
        return f"{value:,.0f}"
    digits = 2 if value < 0.1 else 3
    return np.format_float_positional(value, precision=digits, fractional=False, unique=False, trim="-")

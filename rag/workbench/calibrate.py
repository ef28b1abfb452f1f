"""Fit the confidence to somebody's own documents, models and questions, and choose the threshold to keep drafts at."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rag.calibration import BIAS, SHIPPED, Calibration
from rag.chunking import count_words
from rag.errors import CalibrationError
from rag.settings import Settings
from rag.signals import SURENESS
from rag.workbench.curve import Curve, apgr, replaced_in_order
from rag.workbench.figures import ORACLE, auroc, calibration_error, qualities
from rag.workbench.intervals import ROUNDS, Floats, Ints, interval, interval_of, mean
from rag.workbench.mix import LEAST, Mix, best_mix, folds_of, too_few
from rag.workbench.rows import Row

_SEED = 7
_GRID = np.linspace(0, 1, 21)

# What decides who answers is at its default, as every draft is wanted whole and no signal depends on it: the rows of
# an earlier call can still be used when the threshold has been set, or the file of weights is there.
_WHO_ANSWERS = (
    "min_confidence", "early_confidence", "weak_coverage", "escalate", "escalate_topics", "escalations_per_minute",
    "escalations_per_chat", "llm_ttft_budget_ms",
)  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """
    Drafts to fit to.

    Attributes:
        signals: of each, by name, (n,); NaN where a draft has none.
        draft, large: what each draft is worth and what would replace it, 0 or 1, (n,); see `figures.qualities`.
        length: of each, in words, (n,).
        documents: where the answer of each question is; empty where that is not known.
        rows: they, in the same order.
    """

    signals: Mapping[str, Floats]
    draft: Floats
    large: Floats
    length: Floats
    documents: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Result:
    """
    A calibration and what speaks for it.

    Attributes:
        calibration: to be written.
        figures: as `--json` prints them; `curve` is what the drawing is made of.
    """

    calibration: Calibration
    figures: dict[str, Any]


def settings_for(settings: Settings) -> Settings:
    """The same settings, except that every draft ends and that what is set for the router does not matter."""
    usual = {name: Settings.model_fields[name].get_default(call_default_factory=True) for name in _WHO_ANSWERS}
    # An earlier calibration is no part of the rows.
    return settings.model_copy(update={**usual, "early_tokens": 0, "calibration": None})


def refuse_few(asked: int, path: Path) -> None:
    """
    Say before an hour of work that it will not do.

    Raises:
        CalibrationError: there are fewer questions than judged drafts are needed.
    """
    if asked < LEAST:
        raise CalibrationError(
            f"{path} has {asked} questions to ask, and at least {LEAST} judged drafts are needed. Add questions."
        )


def refuse_unwritable(path: Path) -> None:
    """
    Say before an hour of work that its result cannot be written.

    Raises:
        CalibrationError: the file cannot be made, or written over.
    """
    trial = path.parent / f"{path.name}.{os.getpid()}.tmp"  # where `write_calibration` writes first
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError("it is there and may only be read")
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise CalibrationError(f"{path} cannot be written ({error}). Name another file.") from error


def judged(rows: Sequence[Row], *, oracle: bool) -> Judged:
    """
    The drafts among rows that can be fitted to: judged, whole, and with a known replacement.

    Args:
        oracle: whether a right answer stands in for the large model.

    Raises:
        CalibrationError: they are too few, all alike, or have not the signals of this version.
    """
    used = [row for row in rows if row.draft and not row.stopped and row.confidence is not None and row.signals]
    used = [row for row in used if oracle or row.large is not None]
    draft, large = qualities(used, oracle=oracle)
    if few := too_few(draft):
        raise CalibrationError(f"Nothing can be fitted: {few}. Ask more questions, or others. What was asked is kept.")
    common = set.intersection(*(set(row.signals) for row in used)) - SURENESS
    if missing := sorted(set(SHIPPED.without_logprobs) - {BIAS} - common):
        raise CalibrationError(
            f"Rows of the trace have no {' and no '.join(missing)}: an older program made them. Name another file "
            "for the trace, or remove it."
        )
    names = [name for name in used[0].signals if name in common and name != BIAS]
    names += sorted(SURENESS & {name for row in used for name in row.signals})
    return Judged(
        {name: np.array([row.signals.get(name, np.nan) for row in used], dtype=float) for name in names},
        draft,
        large,
        np.array([count_words(row.draft or "") for row in used], dtype=float),
        tuple(row.document for row in used),
        tuple(used),
    )


def calibrated(found: Judged, *, model: str, large_model: str | None, target: float) -> Result:
    """
    Fit both mixes, measure them on drafts that were held out, and choose the threshold.

    Args:
        found: the drafts.
        model: whose drafts they are, as its server reports it.
        large_model: what would replace them; None: a right answer.
        target: the share of the large model's quality that the threshold must reach, above 0 and up to 1.
    """
    folds = folds_of(found.documents)
    plain = {name: values for name, values in found.signals.items() if name not in SURENESS}
    given = np.full(len(found.draft), bool(SURENESS & found.signals.keys()))
    for name in SURENESS & found.signals.keys():
        given &= np.isfinite(found.signals[name])
    without = best_mix(plain, found.draft, folds, SHIPPED.without_logprobs)
    with_them = best_mix(
        {name: values[given] for name, values in found.signals.items()},
        found.draft[given],
        folds_of([name for name, has in zip(found.documents, given, strict=True) if has]),
        SHIPPED.with_logprobs,
    )
    scores, shipped = without.scores.copy(), without.shipped.copy()
    scores[given], shipped[given] = with_them.scores, with_them.shipped

    orders = {"length": found.length, "default": shipped, "calibrated": scores}
    threshold = cheapest_threshold(found.draft, found.large, scores, target=target)
    usual = float(Settings.model_fields["min_confidence"].default)
    large_name = large_model or ORACLE
    reached = f"{target * 100:g} % of the right answers of {large_name}"
    figures: dict[str, Any] = {
        "model": model,
        "large_model": large_name,
        "drafts": len(scores),
        "right": int(found.draft.sum()),
        "held_out": {"by": folds.by, "folds": folds.count},
        "target": target,
        "threshold": threshold,
        "with_logprobs": _told(with_them),
        "without_logprobs": _told(without),
        "auroc": {name: _auroc(values, found.draft) for name, values in orders.items()},
        "ece": {name: _ece(found, values) for name, values in (("default", shipped), ("calibrated", scores))},
        "orders": _orders(found, orders, target),
        "routers": {
            "always small": _router(found, scores, 0.0),
            "default": _router(found, shipped, usual),
            "calibrated": _router(found, scores, threshold),
            "always large": _router(found, np.zeros(len(scores)), 1.0),
        },
        "curve": bands(found, orders),
    }
    made = Calibration(model, with_them.weights, without.weights, len(scores), threshold, reached)
    return Result(made, figures)


def cheapest_threshold(draft: Floats, large: Floats, score: Floats, *, target: float) -> float:
    """
    The confidence to keep drafts at, so that the fewest are replaced for a share of the large model's quality.

    Drafts below it are replaced; one exactly at it is kept. 0 where all drafts can be kept, 1 where none can. It has
    as few decimals as part the last draft that is replaced from the first that is kept.

    Args:
        draft, large: the quality of each draft and of what would replace it, 0 to 1, (n,).
        score: the confidence of each draft, 0 to 1, (n,).
        target: the share, above 0 and up to 1.
    """
    curve = replaced_in_order(draft, large, score)
    enough = np.flatnonzero(curve.quality >= target * float(large.mean()) - 1e-9)
    replaced = round(float(curve.cost[enough[0]]) * len(score))
    if replaced in (0, len(score)):
        return float(replaced > 0)
    below, above = np.sort(score)[replaced - 1 : replaced + 1]
    for decimals in range(2, 16):
        middle = round(float(below + above) / 2, decimals)
        if below < middle <= above:
            return middle
    return float(above)


def bands(found: Judged, scores: Mapping[str, Floats]) -> dict[str, Any]:
    """
    The cost-quality curves of some orders, and of a random one, with 95 % bootstrap intervals over questions.

    Returns:
        `escalated`, shares of the drafts that are replaced; and by the name of each order `right`, the share of right
        answers then, and the `low` and `high` end of its interval.
    """
    known = {"random": np.zeros(len(found.draft)), **scores}
    everything: Ints = np.arange(len(found.draft))

    def at_the_grid(score: Floats, at: Ints) -> Floats:
        curve: Curve = replaced_in_order(found.draft[at], found.large[at], score[at])
        return np.interp(_GRID, curve.cost, curve.quality)

    random = np.random.default_rng(_SEED)
    drawn = {name: np.empty((ROUNDS, len(_GRID))) for name in known}
    for number in range(ROUNDS):
        at = random.integers(0, len(everything), len(everything))
        for name, score in known.items():
            drawn[name][number] = at_the_grid(score, at)
    found_curves: dict[str, Any] = {"escalated": _rounded(_GRID)}
    for name, score in known.items():
        low, high = np.quantile(drawn[name], [0.025, 0.975], axis=0)
        right = at_the_grid(score, everything)
        found_curves[name] = {"right": _rounded(right), "low": _rounded(low), "high": _rounded(high)}
    return found_curves


def _orders(found: Judged, scores: Mapping[str, Floats], target: float) -> dict[str, Any]:
    def measured(score: Floats) -> dict[str, Any]:
        def needed(at: Ints) -> float | None:
            wanted = target * float(found.large[at].mean())
            return replaced_in_order(found.draft[at], found.large[at], score[at]).cost_of(wanted)

        return {
            "apgr": _value(apgr(found.draft, found.large, score)),
            "escalated_for_target": _value(needed(np.arange(len(score)))),
            "interval": _rounded(interval_of(needed, len(score))),
        }

    known = {"random": np.zeros(len(found.draft)), **scores}
    return {name: measured(score) for name, score in known.items()}


def _router(found: Judged, scores: Floats, threshold: float) -> dict[str, Any]:
    replaced = scores < threshold
    right = mean(np.where(replaced, found.large, found.draft).tolist())
    return {
        "threshold": threshold,
        "escalated": _value(float(replaced.mean())),
        "right": _value(right.value),
        "interval": _rounded(interval(right)),
    }


def _told(mix: Mix) -> dict[str, Any]:
    return {
        "kind": mix.kind,
        "weights": mix.weights,
        "drafts": mix.drafts,
        "auroc_fitted": _value(mix.fitted_auroc),
        "auroc_default": _value(mix.shipped_auroc),
        "gain_interval": _rounded(mix.gain),
    }


def _auroc(values: Floats, right: Floats) -> dict[str, Any]:
    area = auroc(values, right)
    return {
        "value": _value(area),
        "interval": _rounded(interval_of(lambda at: auroc(values[at], right[at]), len(right))),
    }


def _ece(found: Judged, scores: Floats) -> float | None:
    return _value(
        calibration_error(
            [
                replace(row, confidence=float(score), draft_right=bool(right))
                for row, score, right in zip(found.rows, scores, found.draft, strict=True)
            ]
        )
    )


def _value(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _rounded(values: Sequence[float] | Floats | None) -> list[float] | None:
    return None if values is None else [round(float(one), 4) for one in values]

"""The mix of signals that a confidence is: fitted to judged drafts, measured on those that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rag.calibration import BIAS
from rag.workbench.figures import auroc
from rag.workbench.intervals import Floats, Interval, Ints, interval_of

#: Fewer drafts of these do not tell which weights are better.
LEAST = 50
LEAST_OF_A_KIND = 15

# Of 1 to 100, the least calibration error on held-out drafts, whether 60 or 1,000 are fitted to.
_RIDGE = 10.0
_ROUNDS = 100
_FLAT = 1e-9
# A signal that so few drafts have differs from the others by chance.
_FEWEST = 10
_MOST_GROUPS = 20
_FOLDS = 5
_SEED = 7

#: How weights came about: all anew, the shipped ones with another scale and bias, or as shipped.
Kind = Literal["fitted", "rescaled", "shipped"]
Fit = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class Folds:
    """
    Which drafts are held out together.

    Attributes:
        of: the fold of each draft, (n,).
        count: how many there are.
        by: what is never in two of them.
    """

    of: Ints
    count: int
    by: Literal["documents", "questions"]


@dataclass(frozen=True)
class Mix:
    """
    Weights, and how good they are on drafts that they were not fitted on.

    Attributes:
        kind: how they came about.
        weights: by the names of the signals, and `bias`.
        drafts: how many they were fitted on.
        scores: the confidence of each draft from weights of the other folds, (n,).
        shipped: the confidence of each draft from the shipped weights, (n,).
        fitted_auroc, shipped_auroc: of weights that are all new, cross-validated, and of the shipped ones; None if
            nothing was fitted.
        gain: the 95 % paired bootstrap interval of their difference.
    """

    kind: Kind
    weights: dict[str, float]
    drafts: int
    scores: Floats
    shipped: Floats
    fitted_auroc: float | None = None
    shipped_auroc: float | None = None
    gain: Interval | None = None


def fitted(signals: Floats, right: Floats, *, ridge: float = _RIDGE) -> Floats:
    """
    The weights of a logistic mix, bias first, (n_signals + 1,).

    Fitted on standardised signals, so that the ridge weighs on all alike, and scaled back for plain ones. A signal
    that is the same for all drafts, or for all but nine, gets the weight 0.

    Args:
        signals: (n, n_signals).
        right: 1 for a right draft, 0 for a wrong one, (n,).
        ridge: the penalty on squared weights; the bias has next to none.

    Source: ridge logistic regression (le Cessie and van Houwelingen 1992), by Newton's method with halved steps.
    """
    centre, spread = signals.mean(axis=0), signals.std(axis=0)
    rare = [len(column) - np.unique(column, return_counts=True)[1].max() < _FEWEST for column in signals.T]
    flat = np.array(rare) | (spread < _FLAT)
    scale = np.where(flat, 1.0, spread)
    x = np.column_stack([np.ones(len(signals)), np.where(flat, 0.0, (signals - centre) / scale)])
    # Without any penalty the bias has no end where all drafts are right.
    penalty = np.concatenate([[0.01], np.full(signals.shape[1], ridge)])

    def cost(weights: Floats) -> float:
        z = x @ weights
        return float(np.logaddexp(0, z).sum() - right @ z + penalty @ weights**2 / 2)

    weights = np.zeros(x.shape[1])
    for _ in range(_ROUNDS):
        chance = logistic(x @ weights)
        gradient = x.T @ (chance - right) + penalty * weights
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        part = 1.0
        while part > 1e-6 and cost(weights - part * step) > cost(weights):
            part /= 2
        weights = weights - part * step
        if np.abs(step).max() < 1e-8:
            break
    plain = weights[1:] / scale
    found: Floats = np.concatenate([[weights[0] - plain @ centre], plain])
    return found


def rescaled(weights: Floats, signals: Floats, right: Floats) -> Floats:
    """
    The same mix with another scale and bias, so that its confidence is the share that is right.

    Left as it is where a higher sum of the signals does not go with right drafts: turning it round is no rescaling.

    Source: Platt (1999).
    """
    # Two numbers need little holding back; more would make every confidence too doubtful.
    bias, slope = fitted(_sums(weights, signals)[:, None], right, ridge=0.01)
    if slope <= 0:
        return weights
    found: Floats = slope * weights
    found[0] += bias
    return found


def held_out(fit: Fit, signals: Floats, right: Floats, folds: Folds) -> Floats:
    """The confidence of each draft from weights that were fitted on the other folds, (n,)."""
    scores = np.zeros(len(right))
    for fold in range(folds.count):
        held = folds.of == fold
        scores[held] = logistic(_sums(fit(signals[~held], right[~held]), signals[held]))
    return scores


def folds_of(documents: Sequence[str]) -> Folds:
    """
    Folds that never part the drafts of one document; with fewer than five documents, five random folds.

    Each document is a fold of its own, up to twenty; more are dealt so that the folds are about equally large. A draft
    without a document is dealt alone.

    Args:
        documents: of each draft; empty where it is not known.
    """
    names = [name or f"\0{at}" for at, name in enumerate(documents)]
    sizes: dict[str, int] = {}
    for name in names:
        sizes[name] = sizes.get(name, 0) + 1
    if len(set(documents) - {""}) < _FOLDS:
        order = np.random.default_rng(_SEED).permutation(len(names))
        return Folds(order % _FOLDS, _FOLDS, "questions")
    filled = [0] * min(_MOST_GROUPS, len(sizes))
    place = {}
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        place[name] = filled.index(min(filled))
        filled[place[name]] += sizes[name]
    return Folds(np.array([place[name] for name in names]), len(filled), "documents")


def too_few(right: Floats) -> str:
    """Why nothing can be fitted to so few drafts, in words; empty if it can."""
    good = int(right.sum())
    if len(right) < LEAST:
        return f"there are {len(right)} judged drafts, and at least {LEAST} are needed"
    for word, count in (("right", good), ("wrong", len(right) - good)):
        if count < LEAST_OF_A_KIND:
            return (
                f"{count} of the {len(right)} judged drafts are {word}, and at least {LEAST_OF_A_KIND} of each kind "
                "are needed"
            )
    return ""


def best_mix(signals: Mapping[str, Floats], right: Floats, folds: Folds, shipped: Mapping[str, float]) -> Mix:
    """
    New weights where they are better than the shipped ones beyond chance; else the shipped ones, rescaled.

    Better is a higher AUROC on drafts that were held out: the whole paired 95 % bootstrap interval is above 0.

    Args:
        signals: by name, (n,) each.
        right: 1 for a right draft, 0 for a wrong one, (n,).
        folds: what is held out together.
        shipped: weights by name, and `bias`; one of a signal that is not there does not count.
    """
    names = tuple(signals)
    columns = np.column_stack([signals[name] for name in names])
    before = np.array([shipped.get(name, 0.0) for name in (BIAS, *names)])
    by_shipped = logistic(_sums(before, columns))
    if too_few(right):
        return Mix("shipped", dict(shipped), len(right), by_shipped, by_shipped)
    anew = held_out(fitted, columns, right, folds)

    def gained(at: Ints) -> float | None:
        new, old = auroc(anew[at], right[at]), auroc(by_shipped[at], right[at])
        return None if new is None or old is None else new - old

    gain = interval_of(gained, len(right))
    kind: Kind = "fitted" if gain and gain[0] > 0 else "rescaled"
    fit: Fit = fitted if kind == "fitted" else lambda x, y: rescaled(before, x, y)
    scores = anew if kind == "fitted" else held_out(fit, columns, right, folds)
    found = fit(columns, right)
    if found is before:
        kind = "shipped"
    weights = {name: round(float(weight), 6) for name, weight in zip((BIAS, *names), found, strict=True)}
    if kind == "rescaled":
        weights = {name: weight for name, weight in weights.items() if name == BIAS or name in shipped}
    return Mix(kind, weights, len(right), scores, by_shipped, auroc(anew, right), auroc(by_shipped, right), gain)


def logistic(values: Floats) -> Floats:
    """A sum of signals as a confidence, 0 to 1."""
    found: Floats = 1 / (1 + np.exp(-np.clip(values, -500, 500)))
    return found


def _sums(weights: Floats, signals: Floats) -> Floats:
    found: Floats = weights[0] + signals @ weights[1:]
    return found

"""What escalating buys: the quality of all answers against the share of drafts that the large model replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rag.workbench.intervals import ROUNDS, Floats, Ints, ends, interval_of

_SEED = 7


@dataclass(frozen=True)
class Curve:
    """
    Quality against cost; straight between its points.

    Attributes:
        cost: shares of the drafts that are replaced, rising from 0 to 1, (n_points,).
        quality: the mean quality of all answers then, (n_points,).
    """

    cost: Floats
    quality: Floats

    @property
    def area(self) -> float:
        """The area under it, which is the mean quality over all budgets."""
        return float(np.trapezoid(self.quality, self.cost))

    def cost_of(self, quality: float) -> float | None:
        """The smallest share of drafts to replace for this quality; None if it is never reached."""
        reached = np.flatnonzero(self.quality >= quality - 1e-12)
        if not len(reached):
            return None
        at = int(reached[0])
        if at == 0:
            return 0.0
        below, above = self.quality[at - 1], self.quality[at]
        part = (quality - below) / (above - below) if above > below else 1.0
        return float(self.cost[at - 1] + min(1.0, part) * (self.cost[at] - self.cost[at - 1]))


def replaced_in_order(draft: Floats, large: Floats, score: Floats) -> Curve:
    """
    The curve when the drafts with the lowest scores are replaced first.

    Drafts with the same score are replaced together, as no threshold parts them: the curve is straight there, which
    is what a random order among them gives on average.

    Args:
        draft, large: the quality of each draft and of what would replace it, 0 to 1, (n,).
        score: the lower, the sooner replaced, (n,).

    Source: the cost-quality curves of Hybrid LLM (Ding et al. 2024) and RouteLLM (Ong et al. 2024).
    """
    order = np.argsort(score, kind="stable")
    gained = np.concatenate([[0.0], np.cumsum((large - draft)[order])])
    last_of_its_score = np.append(np.diff(score[order]) > 0, True)
    at = np.concatenate([[0], np.flatnonzero(last_of_its_score) + 1])
    return Curve(at / len(draft), float(draft.mean()) + gained[at] / len(draft))


def apgr(draft: Floats, large: Floats, score: Floats) -> float | None:
    """
    How well a score orders the drafts to replace: 0.5 for a random order, 1.0 for the perfect one, 0.0 for its reverse.

    The area under the curve, between that of a random order and that of the order of true gains. Where what replaces
    a draft is always right, it equals the AUROC of the score for 'the draft is right'. None where all gains are the
    same, so that no order is better than another, and without drafts.

    Source: the average performance gap recovered of RouteLLM (Ong et al. 2024), with the ends of its scale fixed.
    """
    if not len(draft):
        return None
    random = float(draft.mean() + large.mean()) / 2
    best = replaced_in_order(draft, large, draft - large).area - random
    if best < 1e-12:
        return None
    return 0.5 + 0.5 * (replaced_in_order(draft, large, score).area - random) / best


def saved_at(share: float, draft: Floats, large: Floats, score: Floats) -> float | None:
    """
    The share of escalations saved against a random order, at some share of the large model's quality.

    Negative where the order is worse than a random one. None where the large model is no better than the drafts,
    where the drafts alone are good enough, and without drafts.
    """
    if not len(draft):
        return None
    low, high = float(draft.mean()), float(large.mean())
    target = share * high
    if high <= low or target <= low:
        return None
    needed = replaced_in_order(draft, large, score).cost_of(target)
    at_random = (target - low) / (high - low)
    return None if needed is None else 1 - needed / at_random


def baselines(draft: Floats, large: Floats, scores: Mapping[str, Floats], *, share: float = 0.95) -> dict[str, Any]:
    """
    What orders of escalation are worth, with 95 % intervals.

    Args:
        draft, large: as of `replaced_in_order`.
        scores: the orders, by name.
        share: of the large model's quality, for `saved`.

    Returns:
        By name, and for `random` and `oracle` (the order of true gains): `apgr`, its `interval` and `saved`. The
        interval of `random` is where random orders of these very drafts fall; the others are bootstrapped.
    """

    def measured(score: Floats) -> dict[str, Any]:
        return {
            "apgr": apgr(draft, large, score),
            "interval": interval_of(lambda at: apgr(draft[at], large[at], score[at]), len(draft)),
            "saved": saved_at(share, draft, large, score),
        }

    found = {name: measured(score) for name, score in scores.items()}
    possible = apgr(draft, large, draft - large) is not None
    random = np.random.default_rng(_SEED)

    def by_chance() -> float:
        places: Ints = random.permutation(len(draft))
        value = apgr(draft, large, places.astype(float))
        return np.nan if value is None else value

    tried = np.array([by_chance() for _ in range(ROUNDS if possible else 0)])
    saved = saved_at(share, draft, large, np.zeros(len(draft)))
    found["random"] = {"apgr": 0.5 if possible else None, "interval": ends(tried), "saved": saved}
    found["oracle"] = {
        "apgr": 1.0 if possible else None,
        "interval": (1.0, 1.0) if possible else None,
        "saved": saved_at(share, draft, large, draft - large),
    }
    return found

"""How sure a figure is: seeded bootstrap intervals over questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

#: A lower and an upper end between which 95 % of the resampled figures lie.
Interval = tuple[float, float]

ROUNDS = 1_000
_SEED = 7
_AT_ONCE = 1_000_000  # so many counts are drawn at a time


@dataclass(frozen=True)
class Ratio:
    """
    A share or a mean over rows: the sum of the tops by the sum of the bottoms.

    Attributes:
        tops, bottoms: one of each row, (n_rows,); both 0 for a row that does not count.
    """

    tops: Floats
    bottoms: Floats

    @property
    def value(self) -> float | None:
        """None where no row counts."""
        below = float(self.bottoms.sum())
        return float(self.tops.sum()) / below if below else None


def ratio(tops: Sequence[float], bottoms: Sequence[float]) -> Ratio:
    """A ratio of two columns of the same length."""
    return Ratio(np.array(tops, dtype=float), np.array(bottoms, dtype=float))


def mean(values: Sequence[float | None]) -> Ratio:
    """
    The mean of those that are numbers; None and NaN do not count.

    >>> mean([1.0, None, 0.0, float("nan")]).value
    0.5
    """
    column = np.array([np.nan if value is None else value for value in values], dtype=float)
    counts = np.isfinite(column)
    return Ratio(np.where(counts, column, 0.0), counts.astype(float))


def interval(one: Ratio) -> Interval | None:
    """
    The 95 % bootstrap interval of a ratio; None where no row counts.

    Source: the percentile bootstrap of Efron (1979), 1,000 rounds with a fixed seed.
    """
    return ends(_resampled(one))


def interval_of_difference(new: Ratio, old: Ratio) -> Interval | None:
    """
    The 95 % paired bootstrap interval of `new` less `old`; None where no row counts.

    Args:
        new, old: row by row of the same questions.

    Raises:
        ValueError: they have not as many rows.
    """
    if len(new.tops) != len(old.tops):
        raise ValueError(f"as many rows as before are needed ({len(old.tops)}), was: {len(new.tops)}")
    return ends(_resampled(new) - _resampled(old))


def interval_of(figure: Callable[[Ints], float | None], rows: int) -> Interval | None:
    """
    The 95 % bootstrap interval of any figure.

    Args:
        figure: of the rows with the given places, (rows,), some of them several times; None where it has no value.
        rows: how many there are.
    """
    if not rows:
        return None
    random = np.random.default_rng(_SEED)
    drawn = (figure(random.integers(0, rows, rows)) for _ in range(ROUNDS))
    return ends(np.array([np.nan if value is None else value for value in drawn]))


def _resampled(one: Ratio) -> Floats:
    # The same seed draws the same rows for two ratios of equal length, which pairs them.
    rows = len(one.tops)
    if not rows:
        return np.zeros(0)
    random = np.random.default_rng(_SEED)
    found, left = [], ROUNDS
    while left:
        now = min(left, max(1, _AT_ONCE // rows))
        counts = random.multinomial(rows, np.full(rows, 1 / rows), size=now)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append((counts @ one.tops) / (counts @ one.bottoms))
        left -= now
    return np.concatenate(found)


def ends(values: Floats) -> Interval | None:
    """Where the middle 95 % of those values lie that are numbers; None if none is."""
    whole = values[np.isfinite(values)]
    if not len(whole):
        return None
    low, high = np.quantile(whole, [0.025, 0.975])
    return float(low), float(high)

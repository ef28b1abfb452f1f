"""The fit of the confidence: numbers in, weights out, and what is held out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rag.workbench.figures import auroc
from rag.workbench.mix import fitted, folds_of, held_out, logistic, rescaled


def test_the_fit_finds_the_weights_that_made_the_drafts_right() -> None:
    """Plain weights, whatever the centre and the spread of a signal; what does not vary gets none."""
    random = np.random.default_rng(1)
    signals = np.column_stack([random.normal(0.5, 0.2, 8000), random.normal(-100, 30, 8000), np.full(8000, 7.0)])
    right = (random.random(8000) < logistic(-1 + 6 * signals[:, 0] + 0.05 * (signals[:, 1] + 100))).astype(float)
    bias, first, second, flat = fitted(signals, right)
    assert first == pytest.approx(6, rel=0.1)
    assert second == pytest.approx(0.05, rel=0.1)
    assert bias == pytest.approx(-1 + 0.05 * 100, rel=0.1)
    assert flat == 0


def test_without_a_signal_the_fit_is_the_share_that_is_right() -> None:
    """Thirty of forty: the log-odds are those of 3 to 1."""
    bias, none = fitted(np.zeros((40, 1)), np.array([1.0] * 30 + [0.0] * 10))
    assert (bias, none) == (pytest.approx(math.log(3), abs=0.01), 0.0)


def test_a_fit_to_drafts_that_are_all_right_ends() -> None:
    """A fold may have nothing else; its weights are high, and numbers."""
    weights = fitted(np.random.default_rng(1).normal(size=(40, 2)), np.ones(40))
    assert np.isfinite(weights).all()
    assert logistic(weights[:1])[0] > 0.95


def test_signals_that_part_right_from_wrong_entirely_have_an_end_too() -> None:
    """The ridge holds the weight back."""
    signals = np.linspace(-1, 1, 60)[:, None]
    _, weight = fitted(signals, (signals[:, 0] > 0).astype(float))
    assert 1 < weight < 100


def test_drafts_are_scored_by_weights_that_never_saw_them() -> None:
    """Twenty signals of noise fit sixty drafts well, and say nothing of others."""
    random = np.random.default_rng(5)
    signals, right = random.normal(size=(60, 20)), np.tile([0.0, 1.0], 30)
    weights = fitted(signals, right)
    seen = auroc(logistic(weights[0] + signals @ weights[1:]), right)
    unseen = auroc(held_out(fitted, signals, right, folds_of([f"{at % 6}" for at in range(60)])), right)
    assert seen is not None
    assert unseen is not None
    assert seen > 0.8 > 0.65 > unseen


def test_rescaling_keeps_the_order_and_mends_the_share() -> None:
    """Weights ten times too large are brought down; those among each other stay as they were."""
    random = np.random.default_rng(2)
    signals = random.normal(size=(3000, 2))
    right = (random.random(3000) < logistic(signals @ [1.0, -0.5] + 1)).astype(float)
    found = rescaled(np.array([4.0, 10.0, -5.0]), signals, right)
    assert found[1] / found[2] == pytest.approx(-2)
    assert found == pytest.approx([1, 1, -0.5], abs=0.15)


def test_an_order_that_is_the_wrong_way_round_is_not_turned() -> None:
    """That would be another mix, not another scale."""
    signals = np.random.default_rng(2).normal(size=(200, 1))
    before = np.array([0.0, 1.0])
    assert rescaled(before, signals, (signals[:, 0] < 0).astype(float)) is before


def test_a_document_is_never_parted() -> None:
    """Or its drafts would be scored by weights that know it."""
    documents = [f"{at % 33}.md" for at in range(100)] + [""] * 10
    folds = folds_of(documents)
    assert (folds.by, folds.count) == ("documents", 20)
    for name in set(documents) - {""}:
        assert len({int(fold) for fold, one in zip(folds.of, documents, strict=True) if one == name}) == 1
    sizes = np.bincount(folds.of, minlength=20)
    assert sizes.max() - sizes.min() <= 4


def test_a_few_documents_are_a_fold_each_and_fewer_are_none() -> None:
    """Five: one is held out at a time. Four: questions are dealt at random."""
    five = folds_of([f"{at % 5}" for at in range(50)])
    assert (five.by, five.count) == ("documents", 5)
    four = folds_of([f"{at % 4}" for at in range(50)])
    assert (four.by, four.count) == ("questions", 5)
    assert list(np.bincount(four.of)) == [10] * 5

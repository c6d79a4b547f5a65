"""Averaged curves have the means' areas, and pixels counted at levels give the curves of all pixels."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from iadgpt_jax.evaluate.curves import (
    GRID,
    PixelCounts,
    area_under_roc,
    mean_curve,
    precision_at_grid,
    roc_at_grid,
)

STEP = 1 / (len(GRID) - 1)


def queries(seed, n=60, digits=None):
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    scores = rng.normal(size=n) + labels
    return (scores if digits is None else scores.round(digits)), labels


def test_the_area_under_a_mean_roc_is_the_mean_auroc():
    """A curve that rises by 1 in all, read at a distance of STEP, is off by STEP at most."""
    drawn = [queries(seed, digits=seed % 3) for seed in range(6)]
    curve = mean_curve([roc_at_grid(*one) for one in drawn])
    mean = np.mean([roc_auc_score(labels, scores) for scores, labels in drawn])
    assert area_under_roc(curve) == pytest.approx(mean, abs=STEP)
    assert np.all(np.diff(curve) >= 0) and curve[-1] == 1


def test_the_area_under_a_mean_precision_is_the_mean_average_precision():
    """Precision varies by a few units in all, so that reading it at a distance of STEP is off by a few STEP."""
    drawn = [queries(seed, digits=1 + seed % 2) for seed in range(6)]
    curve = mean_curve([precision_at_grid(*one) for one in drawn])
    mean = np.mean([average_precision_score(labels, scores) for scores, labels in drawn])
    assert curve[1:].mean() == pytest.approx(mean, abs=4 * STEP)


def test_precision_is_that_where_a_recall_is_first_reached():
    scores, labels = queries(3)
    precision, recall, _ = precision_recall_curve(labels, scores)
    precision, recall = precision[:-1][::-1], recall[:-1][::-1]  # from the highest threshold down
    expected = [precision[np.argmax(recall >= max(at, 1e-9) - 1e-12)] for at in GRID]
    np.testing.assert_allclose(precision_at_grid(scores, labels), expected)


def test_counted_pixels_give_the_curves_of_the_pixels_themselves():
    """65,536 levels over maps of 3,200 pixels: hardly two pixels share one."""
    rng = np.random.default_rng(0)
    masks = (rng.random((8, 20, 20)) < 0.1).astype(np.uint8) * 255
    maps = (rng.random((8, 20, 20)) + 0.4 * (masks > 0)).astype(np.float32)
    counts = PixelCounts(float(maps.min()), float(maps.max()))
    for map_, mask in zip(maps, masks, strict=True):
        counts.add(map_, mask)
    assert counts.both
    scores, labels = maps.ravel(), masks.ravel() > 0
    np.testing.assert_allclose(counts.roc_at_grid(), roc_at_grid(scores, labels), atol=2 / labels.sum())
    assert area_under_roc(counts.roc_at_grid()) == pytest.approx(roc_auc_score(labels, scores), abs=STEP)
    np.testing.assert_allclose(counts.precision_at_grid()[1:], precision_at_grid(scores, labels)[1:], atol=0.02)


def test_degenerate_input():
    counts = PixelCounts(0.5, 0.5)
    counts.add(np.full((4, 4), 0.5), np.zeros((4, 4)))
    assert not counts.both
    counts.add(np.full((4, 4), 0.5), np.ones((4, 4)))
    assert counts.both and area_under_roc(counts.roc_at_grid()) == pytest.approx(0.5)
    assert np.all(counts.precision_at_grid() == 0.5)
    assert mean_curve([]) is None
    with pytest.raises(ValueError):
        roc_at_grid(np.zeros(3), np.zeros(3, bool))

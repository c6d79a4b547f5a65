"""Losses against plain loops in float64, interpolation against OpenCV and JAX, and gradients at every extreme.

Tolerance: a loss is a mean of up to a few thousand float32 terms of order 1, rounded pairwise: about 1e-6 relative.
"""

from __future__ import annotations

import math

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.models.answer_loss import answer_losses, by_word, means_of_words, weighted_mean
from iadgpt_jax.models.iadgpt.losses import FLOOR, LossWeights, dice, focal, map_loss, map_scores, upsample

RTOL = 1e-5


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def naive_focal(normal, abnormal, mask, gamma):
    """Mean over pixels of −(1 − p_t)^γ log p_t on the pair [S_n, S_a], one-hot clamped, as AnomalyGPT's code has it."""
    total, smooth = 0.0, 1e-5
    for n, a, m in zip(normal.ravel(), abnormal.ravel(), mask.ravel(), strict=True):
        one_hot = [min(max(1.0 - m, smooth), 1 - smooth), min(max(float(m), smooth), 1 - smooth)]
        p = one_hot[0] * float(n) + one_hot[1] * float(a) + smooth
        total += -(max(1 - p, 0) ** gamma) * math.log(p)
    return total / mask.size


def naive_dice(scores, target):
    overlap = sum(float(s) * float(t) for s, t in zip(scores.ravel(), target.ravel(), strict=True))
    return 1 - (2 * overlap + 1) / (float(np.float64(scores).sum()) + float(target.sum()) + 1)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_is_its_formula_pixel_by_pixel(rng, gamma):
    normal, abnormal = rng.random((2, 9, 7)).astype(np.float32)
    mask = rng.integers(0, 2, (9, 7)).astype(np.float32)
    ours = float(focal(normal, abnormal, mask, gamma).mean())
    np.testing.assert_allclose(ours, naive_focal(normal, abnormal, mask, gamma), rtol=RTOL)


def test_dice_is_its_formula(rng):
    scores, target = rng.random((3, 8, 8)).astype(np.float32), rng.integers(0, 2, (3, 8, 8)).astype(np.float32)
    expected = [naive_dice(*pair) for pair in zip(scores, target, strict=True)]
    np.testing.assert_allclose(dice(scores, target), expected, rtol=RTOL)


def test_answer_loss_is_the_mean_negative_log_probability_of_the_targets_that_count(rng):
    logits = rng.normal(0, 5, (2, 6, 11)).astype(np.float32)
    ids, weights = rng.integers(0, 11, (2, 6)), rng.integers(0, 2, (2, 6)).astype(np.float32)
    total = 0.0
    for row, target in np.argwhere(weights > 0):
        exponents = np.exp(np.float64(logits[row, target]))
        total -= math.log(exponents[ids[row, target]] / exponents.sum())
    np.testing.assert_allclose(weighted_mean(answer_losses(logits, ids), weights), total / weights.sum(), rtol=RTOL)
    assert float(weighted_mean(answer_losses(logits, ids), np.zeros_like(weights))) == 0


@pytest.mark.parametrize(("grid", "side"), [(1, 8), (2, 7), (4, 28), (16, 224), (4, 4)])
def test_upsampling_is_bilinear_with_half_pixel_centres(rng, grid, side):
    """OpenCV's INTER_LINEAR and jax.image.resize are two more implementations of it."""
    cells = rng.normal(size=(3, grid * grid)).astype(np.float32)
    ours = np.asarray(upsample(cells, side))
    for index, image in enumerate(cells.reshape(3, grid, grid)):
        np.testing.assert_allclose(ours[index], cv2.resize(image, (side, side)), atol=1e-5)
    theirs = jax.image.resize(cells.reshape(3, grid, grid), (3, side, side), "bilinear")
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_min_max_runs_over_the_batchs_valid_maps_only(rng):
    """Per channel (abnormal, normal); a wild map that is not valid changes nothing."""
    maps = rng.random((2, 3, 2, 4)).astype(np.float32)
    valid = np.array([[1, 0, 1], [0, 1, 1]], np.float32)
    maps[0, 1], maps[1, 0] = 100, -100
    scores = np.asarray(map_scores(maps, valid, "probability"))
    for channel in range(2):
        seen = np.stack([maps[b, m, channel] for b, m in np.argwhere(valid)])
        for b, m in np.argwhere(valid):
            expected = (maps[b, m, channel] - seen.min()) / (seen.max() - seen.min())
            np.testing.assert_allclose(scores[b, m, channel], expected, atol=1e-6)
    assert scores.min() >= 0 and scores.max() <= 1


def test_no_gradient_passes_through_the_two_extremes(rng):
    """The sum of scores, less those at the extremes, moves as if minimum and maximum were constants."""
    maps = rng.random((1, 2, 2, 8)).astype(np.float32)
    valid = np.ones((1, 2), np.float32)
    inner = np.ones_like(maps)
    for channel in range(2):
        part = maps[:, :, channel]
        inner[:, :, channel][(part == part.min()) | (part == part.max())] = 0
    gradient = np.asarray(jax.grad(lambda m: (map_scores(m, valid, "probability") * inner).sum())(maps))
    for channel in range(2):
        reach = maps[:, :, channel].max() - maps[:, :, channel].min()
        np.testing.assert_allclose(gradient[:, :, channel], inner[:, :, channel] / reach, rtol=1e-5)


def naive_map_loss(maps, masks, valid, space, weights):
    scores = np.float64(maps)
    if space == "logit":
        scores = 1 / (1 + np.exp(-scores))
    elif space == "log_probability":  # sigmoid(log(x)) = x / (1 + x)
        odds = scores * scores.shape[-1] + FLOOR
        scores = odds / (1 + odds)
    else:
        for channel in range(2):
            seen = np.stack([scores[b, m, channel] for b, m in np.argwhere(valid)])
            scores[:, :, channel] = (scores[:, :, channel] - seen.min()) / (seen.max() - seen.min())
    sums = dict(focal=0.0, dice_abnormal=0.0, dice_normal=0.0, binary_focal=0.0)
    for b, m in np.argwhere(valid):
        grid, side = int(np.sqrt(maps.shape[-1])), masks.shape[-1]
        abnormal, normal = (cv2.resize(scores[b, m, c].reshape(grid, grid), (side, side)) for c in range(2))
        mask = np.float64(masks[b, m])
        sums["focal"] += naive_focal(normal, abnormal, mask, 2)
        sums["dice_abnormal"] += naive_dice(abnormal, mask)
        sums["dice_normal"] += naive_dice(normal, 1 - mask)
        sums["binary_focal"] += naive_focal(1 - abnormal, abnormal, mask, 2)
    return sum(getattr(weights, name) * value for name, value in sums.items()) / valid.sum()


@pytest.mark.parametrize("space", ["logit", "log_probability", "probability"])
def test_map_loss_is_equation_6_map_by_map(rng, space):
    """Focal([S_n, S_a], M) + Dice(S_a, M) + Dice(S_n, 1 − M), a mean over the maps that have a mask."""
    maps = rng.normal(0, 2, (2, 3, 2, 16)).astype(np.float32)
    maps = maps if space == "logit" else np.exp(maps - 4)
    masks = (rng.random((2, 3, 12, 12)) < 0.2).astype(np.uint8)
    masks[0, 0] = 0  # a normal image
    valid = np.array([[1, 1, 0], [0, 1, 1]], np.float32)
    weights = LossWeights(focal=0.7, dice_abnormal=1.3, dice_normal=0.4, binary_focal=0.9)
    total, _ = map_loss(maps, masks, valid, space, weights)
    np.testing.assert_allclose(total, naive_map_loss(maps, masks, valid, space, weights), rtol=RTOL)


def test_the_papers_weights_are_the_default():
    assert LossWeights() == LossWeights(answer=1, focal=1, dice_abnormal=1, dice_normal=1, binary_focal=0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_gradients_are_finite_at_scores_0_and_1(gamma):
    """The worst corners: certain and right (p_t passes 1 by the smoothing term), certain and wrong (log of 1e-5)."""
    normal, abnormal, mask = (np.array(x, np.float32) for x in np.meshgrid([0, 1], [0, 1], [0, 1]))
    value, gradient = jax.value_and_grad(lambda n, a: focal(n, a, mask, gamma).sum(), argnums=(0, 1))(normal, abnormal)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradient)


@pytest.mark.parametrize("space", ["logit", "log_probability", "probability"])
@pytest.mark.parametrize("case", ["constant", "huge", "tiny", "no valid map"])
def test_map_loss_has_finite_gradients(rng, space, case):
    maps = rng.normal(size=(1, 2, 2, 4)).astype(np.float32)
    maps = np.abs(maps) if space == "log_probability" else maps
    maps = {"constant": 0 * maps, "huge": 1e4 * maps, "tiny": 1e-30 * maps, "no valid map": maps}[case]
    valid = np.zeros((1, 2), np.float32) if case == "no valid map" else np.ones((1, 2), np.float32)
    masks = np.zeros((1, 2, 8, 8), np.uint8)
    masks[0, 0, :3, :3] = 1
    loss = lambda m: map_loss(m, masks, valid, space, LossWeights(binary_focal=1))[0]  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(maps))
    assert np.isfinite(value) and np.isfinite(gradient).all()
    if case == "no valid map":
        assert value == 0 and not np.any(gradient)


def test_the_loss_of_words_is_the_mean_over_the_tokens_that_say_them(rng):
    """A verdict in every row, a kind in one, no place at all: of that there is nothing to log. Weights play no part."""
    losses = rng.random((3, 5)).astype(np.float32)
    words = np.zeros((3, 5), np.int32)
    words[:, 0], words[1, 2:4] = 1, 2
    metrics = {"loss": 1.0} | {name: float(value) for name, value in by_word(losses, words).items()}
    means = means_of_words(metrics)
    assert means.keys() == {"loss", "answer/verdict", "answer/kind"}
    np.testing.assert_allclose(means["answer/verdict"], losses[:, 0].mean(), rtol=RTOL)
    np.testing.assert_allclose(means["answer/kind"], losses[1, 2:4].mean(), rtol=RTOL)

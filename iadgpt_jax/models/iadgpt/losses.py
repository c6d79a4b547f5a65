"""The loss of anomaly maps: focal + Dice (paper eq. 6). Everything is float32 and normalised by the number of maps in
the whole batch, so that no split of the batch changes a loss.

Suffixes: B rows, M map queries per row, N map cells (a square grid), h, w mask pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MAP_SPACES = ("logit", "log_probability", "probability")  # the forms maps are supervised in: see map_scores

# Of p·N in "log_probability": below it nothing pushes attention lower. Without a floor, images believed good lose all
# attention, and the defects missed in them rank below the background of other images (pixel AUROC .949 against .926).
FLOOR = 0.03


class LossWeights(NamedTuple):
    """Weights of the terms, and γ of the focal ones. `binary_focal` supervises S_a alone, a help for training from
    scratch; the paper has 0."""

    answer: float = 1.0
    focal: float = 1.0
    dice_abnormal: float = 1.0
    dice_normal: float = 1.0
    binary_focal: float = 0.0
    focal_gamma: float = 2.0


def map_scores(maps, valid, space: str):
    """Raw maps float32[B, M, 2, N] -> [S_a, S_n] in [0, 1] (eq. 5).

    "probability": min–max over the batch's valid maps, no gradient through the two extremes. From random weights that
    does not train; two forms lead up to it. "logit": the sigmoid of mean pre-softmax logits. "log_probability": the
    sigmoid of log(p·N + FLOOR), N cells, so that attention p above an even share counts as abnormal; the same quantity
    as the paper's, on a scale whose gradient neither vanishes near 0 nor depends on the batch's extremes.
    """
    if space == "logit":
        return jax.nn.sigmoid(maps)
    if space == "log_probability":
        return jax.nn.sigmoid(jnp.log(maps * maps.shape[-1] + FLOOR))
    shown = valid[:, :, None, None] > 0
    axes = (0, 1, 3)
    low = jax.lax.stop_gradient(jnp.where(shown, maps, jnp.inf).min(axis=axes, keepdims=True))
    high = jax.lax.stop_gradient(jnp.where(shown, maps, -jnp.inf).max(axis=axes, keepdims=True))
    low, high = jnp.where(jnp.isfinite(low), low, 0.0), jnp.where(jnp.isfinite(high), high, 1.0)
    return jnp.clip((maps - low) / (high - low + 1e-8), 0.0, 1.0)


def upsample(cells, side: int):
    """float32[..., N] on a square grid -> float32[..., side, side], bilinear with half-pixel centres."""
    grid = int(np.sqrt(cells.shape[-1]))
    matrix = jnp.asarray(_bilinear(grid, side))
    return jnp.einsum("yg,...gk,xk->...yx", matrix, cells.reshape(*cells.shape[:-1], grid, grid), matrix)


def _bilinear(grid: int, side: int) -> np.ndarray:
    """float32[side, grid]: the weights of linear interpolation, edges clamped."""
    centre = np.clip((np.arange(side) + 0.5) * grid / side - 0.5, 0, grid - 1)
    low = np.minimum(centre.astype(int), grid - 2) if grid > 1 else np.zeros(side, int)
    part = (centre - low).astype(np.float32)
    matrix = np.zeros((side, grid), np.float32)
    matrix[np.arange(side), low] += 1 - part
    if grid > 1:
        matrix[np.arange(side), low + 1] += part
    return matrix


def focal(scores_normal, scores_abnormal, mask, gamma: float = 2.0, smooth: float = 1e-5):
    """Per-pixel focal loss on the pair [S_n, S_a] as AnomalyGPT writes it; all float32[..., h, w]."""
    abnormal = jnp.clip(mask, smooth, 1 - smooth)
    p = abnormal * scores_abnormal + (1 - abnormal) * scores_normal + smooth
    # Scores reach 1, so p can pass it by `smooth`: a negative base has no power, and 0 no slope for all γ.
    return -(jnp.maximum(1 - p, 1e-7) ** gamma) * jnp.log(p)


def dice(scores, target):
    """Per-map Dice loss with smooth 1 and no squares: float32[..., h, w] -> float32[...]."""
    overlap = (scores * target).sum(axis=(-2, -1))
    return 1 - (2 * overlap + 1) / (scores.sum(axis=(-2, -1)) + target.sum(axis=(-2, -1)) + 1)


def map_loss(maps, masks, valid, space: str, weights: LossWeights, total=None):
    """Eq. 6 over valid maps. maps float32[B, M, 2, N] raw, masks uint8[B, M, h, w], valid float32[B, M].

    Returns (total, {"focal", "dice", "binary_focal"}), each a mean over valid maps. total float32[]: how many
    there are in the whole batch, where this is a part of it.
    """
    scores = upsample(map_scores(maps, valid, space), masks.shape[-1])
    abnormal, normal = scores[:, :, 0], scores[:, :, 1]
    mask = masks.astype(jnp.float32)
    count = jnp.maximum(valid.sum() if total is None else total, 1.0)

    def over_maps(values):
        return (values * valid).sum() / count

    pair = over_maps(focal(normal, abnormal, mask, weights.focal_gamma).mean(axis=(-2, -1)))
    overlap_abnormal, overlap_normal = over_maps(dice(abnormal, mask)), over_maps(dice(normal, 1 - mask))
    total = weights.focal * pair + weights.dice_abnormal * overlap_abnormal + weights.dice_normal * overlap_normal
    parts = {"focal": pair, "dice": overlap_abnormal + overlap_normal}
    if weights.binary_focal:
        alone = over_maps(focal(1 - abnormal, abnormal, mask, weights.focal_gamma).mean(axis=(-2, -1)))
        total += weights.binary_focal * alone
        parts["binary_focal"] = alone
    return total, parts

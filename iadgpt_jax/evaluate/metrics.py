"""How well scores separate good images from defective ones: AUROC, AP, F1-max, and their mean over draws.

Every metric is computed per category on raw scores (on raw maps: pixels.py); `summarize` then takes the mean over
categories within each reference draw, and mean ± std over draws. Sizes: n images, H × W pixels, T thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


class Undefined(ValueError):
    """A metric has no value for what it was asked about. The message says why, in half a sentence."""


def image_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Image-level metrics of one category.

    Args:
      scores: float[n], higher means more likely defective.
      labels: bool[n], True for defective.

    Returns:
      image_auroc, image_ap (average precision) and image_f1_max (best F1 over all thresholds).

    Raises:
      Undefined: no image, only one class present, or scores that are not finite.
      ValueError: sizes that differ.
    """
    scores, labels = _checked("image_metrics", np.asarray(scores).ravel(), np.asarray(labels).ravel())
    return {
        "image_auroc": _auroc(scores, labels),
        "image_ap": _average_precision(scores, labels),
        "image_f1_max": _f1_max(scores, labels),
    }


def roc_curve(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-positive rates, float64[T] each, at every distinct threshold from (0, 0) to (1, 1)."""
    scores, labels = _checked("roc_curve", np.asarray(scores).ravel(), np.asarray(labels).ravel())
    order = np.argsort(-scores, kind="stable")
    ends = _ends_of_ties(scores[order])
    true, false = np.cumsum(labels[order])[ends], np.cumsum(~labels[order])[ends]
    return np.r_[0.0, false / false[-1]], np.r_[0.0, true / true[-1]]


def smooth(maps: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing of float[n, H, W] maps in space, sigma in pixels; 0 returns the maps as they are.

    Off by default everywhere; papers differ (none, or sigma = 4), so whoever uses it reports it.
    """
    if sigma == 0:
        return maps
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(maps, sigma=(0, sigma, sigma))


def summarize(per_draw: Sequence[Mapping[str, Mapping[str, float]]]) -> dict:
    """Mean over categories within each draw, then mean ± std over draws.

    Args:
      per_draw: one entry per reference draw: {category: {metric: value}}. A metric that some category lacks (no
        masks, say) is averaged over the categories that have it.

    Returns:
      {metric: {"mean", "std"}, …, "per_category": {category: {metric: mean over draws}}}. The std is that of the
      draws at hand (divided by their number, as numpy does by default): 0 for a single draw.

    Raises:
      ValueError: no draw, or draws over different categories or metrics.
    """
    if not per_draw:
        raise ValueError("summarize: no draws; evaluate at least one set of references.")
    table = {(name, metric) for name, metrics in per_draw[0].items() for metric in metrics}
    for number, draw in enumerate(per_draw):
        here = {(name, metric) for name, metrics in draw.items() for metric in metrics}
        if here != table:
            name, metric = sorted(here ^ table)[0]
            raise ValueError(f"summarize: draw {number} and draw 0 do not both have {metric} of category {name!r}.")
    summary: dict = {}
    for metric in dict.fromkeys(metric for metrics in per_draw[0].values() for metric in metrics):
        means = [np.mean([metrics[metric] for metrics in draw.values() if metric in metrics]) for draw in per_draw]
        summary[metric] = {"mean": float(np.mean(means)), "std": float(np.std(means))}
    summary["per_category"] = {
        name: {metric: float(np.mean([draw[name][metric] for draw in per_draw])) for metric in metrics}
        for name, metrics in per_draw[0].items()
    }
    return summary


def _checked(where: str, scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat scores and bool labels, or one clear line about what is wrong with them."""
    labels = labels.astype(bool)
    if scores.size != labels.size:
        raise ValueError(f"{where}: {scores.size} scores for {labels.size} labels; pass one score per label.")
    defective = int(labels.sum())
    if defective == 0 or defective == labels.size:
        told = "no images" if not labels.size else f"{defective} of {labels.size} images are defective"
        raise Undefined(f"{told}; it needs both good and defective ones")
    if not np.isfinite(scores).all():
        raise Undefined(f"{int((~np.isfinite(scores)).sum())} of {scores.size} scores are not finite")
    return scores, labels


def _auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """P(defective > good) + ½ P(equal), exactly."""
    good, defective = np.sort(scores[~labels]), np.sort(scores[labels])
    below = np.searchsorted(good, defective, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(good, defective, side="right").sum(dtype=np.int64)
    return float((below + not_above) / (2.0 * good.size * defective.size))


def _average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Σ over thresholds of precision · the recall gained: scikit-learn's, whose import takes longer than a category."""
    order = np.argsort(-scores, kind="stable")
    ends = _ends_of_ties(scores[order])
    true = np.cumsum(labels[order])[ends]
    return float(np.sum(np.diff(true, prepend=0) * (true / (ends + 1))) / true[-1])


def _f1_max(scores: np.ndarray, labels: np.ndarray) -> float:
    """max over thresholds of 2PR/(P+R) = 2·TP / (number called defective + number defective)."""
    order = np.argsort(-scores, kind="stable")
    ends = _ends_of_ties(scores[order])
    true = np.cumsum(labels[order])[ends]
    return float((2.0 * true / (ends + 1 + true[-1])).max())


def _ends_of_ties(ordered: np.ndarray) -> np.ndarray:
    """int[T]: the last index of each run of equal values in a sorted array: the places where a threshold can stand."""
    return np.r_[np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1]

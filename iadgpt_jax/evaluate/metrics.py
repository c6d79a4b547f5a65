"""How well scores and maps separate good from defective: AUROC, AP, F1-max, AUPRO, and their mean over draws.

Every metric is computed per category on raw scores and raw maps; `summarize` then takes the mean over categories
within each reference draw, and mean ± std over draws. Sizes: n images, H × W pixels, T thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

AUPRO_LIMIT = 0.3  # the false-positive rate up to which the field integrates the per-region overlap


def image_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Image-level metrics of one category.

    Args:
      scores: float[n], higher means more likely defective.
      labels: bool[n], True for defective.

    Returns:
      image_auroc, image_ap (average precision) and image_f1_max (best F1 over all thresholds).

    Raises:
      ValueError: only one class present, sizes that differ, or scores that are not finite.
    """
    scores, labels = _checked("image_metrics", np.asarray(scores).ravel(), np.asarray(labels).ravel())
    return {
        "image_auroc": _auroc(scores, labels),
        "image_ap": _average_precision(scores, labels),
        "image_f1_max": _f1_max(scores, labels),
    }


def pixel_metrics(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], *, full: bool = False) -> dict[str, float]:
    """Pixel-level metrics of one category, over all pixels of all its images together.

    Args:
      maps: float[n, H, W], or n maps of different sizes; higher means more likely defective.
      masks: uint8 of the same sizes, anything other than 0 is defective; all zero for good images.
      full: adds pixel_ap, pixel_f1_max and pixel_aupro, which together cost about fifty times as much as pixel_auroc.

    Returns:
      pixel_auroc, and with `full` the other three.

    Raises:
      ValueError: as `image_metrics`; also when a map and its mask differ in size.
    """
    shapes = [np.shape(m) for m in maps], [np.shape(m) for m in masks]
    if shapes[0] != shapes[1]:
        raise ValueError("pixel_metrics: maps and masks differ in number or size; resize the maps to the masks first.")
    scores = np.concatenate([np.ravel(m) for m in maps]) if len(maps) else np.zeros(0)
    labels = np.concatenate([np.ravel(m) != 0 for m in masks]) if len(masks) else np.zeros(0, bool)
    scores, labels = _checked("pixel_metrics", scores, labels)
    metrics = {"pixel_auroc": _auroc(scores, labels)}
    if full:
        metrics["pixel_ap"] = _average_precision(scores, labels)
        metrics["pixel_f1_max"] = _f1_max(scores, labels)
        metrics["pixel_aupro"] = _aupro(scores, labels, masks)
    return metrics


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
        raise ValueError(
            f"{where}: {defective} of {labels.size} labels are defective; a metric needs both good and defective ones."
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"{where}: {int((~np.isfinite(scores)).sum())} of {scores.size} scores are not finite.")
    return scores, labels


def _auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """P(defective > good) + ½ P(equal), exactly.

    Equal to scikit-learn's roc_auc_score and several times faster on maps: only the good values are sorted (in their
    own dtype, which numpy vectorises), the few defective ones are looked up.
    """
    good, defective = np.sort(scores[~labels]), np.sort(scores[labels])
    below = np.searchsorted(good, defective, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(good, defective, side="right").sum(dtype=np.int64)
    return float((below + not_above) / (2.0 * good.size * defective.size))


def _average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores))


def _f1_max(scores: np.ndarray, labels: np.ndarray) -> float:
    """max over thresholds of 2PR/(P+R) = 2·TP / (number called defective + number defective)."""
    order = np.argsort(-scores, kind="stable")
    ends = _ends_of_ties(scores[order])
    true = np.cumsum(labels[order])[ends]
    return float((2.0 * true / (ends + 1 + true[-1])).max())


def _aupro(scores: np.ndarray, labels: np.ndarray, masks: Sequence[np.ndarray]) -> float:
    """Area under mean per-region recall against the pixel false-positive rate, up to 0.3, divided by 0.3.

    Regions are 8-connected components of the masks; the false-positive rate counts the background of every image,
    good ones included. Exact: every distinct score is a threshold, and the curve is interpolated at the limit.
    """
    weights = np.concatenate([_region_weights(mask).ravel() for mask in masks])
    order = np.argsort(-scores, kind="stable")
    ends = _ends_of_ties(scores[order])
    recall = np.r_[0.0, np.cumsum(weights[order])[ends]]
    recall /= recall[-1]  # the weights of all regions sum to their number
    good = ~labels[order]
    rate = np.r_[0.0, np.cumsum(good)[ends] / good.sum()]
    inside = np.searchsorted(rate, AUPRO_LIMIT, side="right")
    x, y = rate[:inside], recall[:inside]
    if x[-1] < AUPRO_LIMIT:
        at_limit = y[-1] + (recall[inside] - y[-1]) * (AUPRO_LIMIT - x[-1]) / (rate[inside] - x[-1])
        x, y = np.r_[x, AUPRO_LIMIT], np.r_[y, at_limit]
    return float(np.trapezoid(y, x) / AUPRO_LIMIT)


def _region_weights(mask: np.ndarray) -> np.ndarray:
    """float64[H, W]: 1 / area of the region on its pixels, 0 on the background."""
    from scipy.ndimage import label

    regions, _ = label(np.asarray(mask) != 0, structure=np.ones((3, 3), int))
    areas = np.bincount(regions.ravel()).astype(np.float64)
    areas[0] = np.inf
    return 1.0 / areas[regions]


def _ends_of_ties(ordered: np.ndarray) -> np.ndarray:
    """int[T]: the last index of each run of equal values in a sorted array: the places where a threshold can stand."""
    return np.r_[np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1]

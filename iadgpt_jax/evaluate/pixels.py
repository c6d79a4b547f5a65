"""Exact pixel metrics of a category in bounded memory: AUROC, AP, F1-max and AUPRO over all pixels of its images.

Recall and the regions' overlap change only at the values of defective pixels, and those are few. Their distinct values
are kept, sorted; the pixels of the background pass by in chunks, of which only the number above and at each of those
values is kept. Nothing is binned or sampled. Where the defective pixels have more distinct values than fit, the
highest are dealt with first, then the next ones, each in a pass of its own over the images.

Sizes: n images, H × W pixels, D distinct values of defective pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from iadgpt_jax.evaluate.metrics import Undefined
from iadgpt_jax.infer.prefetch import prefetch

AUPRO_LIMIT = 0.3  # the false-positive rate up to which the field integrates the per-region overlap
MOST_VALUES = 1 << 21  # distinct values of defective pixels at once: some 200 MB while they are collected
CHUNK = 1 << 22, 1 << 23  # fewest and most background pixels that are sorted together
THREADS = min(4, os.cpu_count() or 1)  # that sort chunks


def pixel_metrics(
    maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], *, most_values: int = MOST_VALUES
) -> dict[str, float]:
    """Pixel-level metrics of one category, over all pixels of all its images together.

    Both sequences are read image by image, at least twice; they may make an image when it is asked for.

    Args:
      maps: float[n, H, W], or n maps of different sizes; higher means more likely defective.
      masks: uint8 or bool of the same sizes, anything other than 0 is defective; all zero for good images.
      most_values: distinct values of defective pixels that are held at once. It changes memory and time, and numbers
        only by rounding.

    Returns:
      pixel_auroc; pixel_ap; pixel_f1_max; and pixel_aupro: the area under the mean recall of regions (8-connected
      components of the masks) against the false-positive rate over the background of every image, up to AUPRO_LIMIT
      and divided by it. Every distinct value is a threshold, and the curve is interpolated at the limit.

    Raises:
      Undefined: no pixel is defective, or all are, or values are not finite.
      ValueError: a map and its mask differ in size.
    """
    totals = _count(maps, masks)
    sums, top, rest = _Sums(totals), np.inf, True
    while rest:
        values, rest = _highest_values(maps, masks, top, most_values)
        low = values.values[0] if rest else -np.inf
        less, not_above, between = _rank(values.values, _background(maps, masks, low, top, len(values.values)))
        sums.add(values, less, not_above, between)
        top = low
    return sums.metrics()


@dataclass(frozen=True)
class _Totals:
    """Pixels of the background and defective ones, of all images."""

    good: int
    defective: int


def _count(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> _Totals:
    if len(maps) != len(masks):
        raise ValueError(f"pixel_metrics: {len(maps)} maps differ in number from {len(masks)} masks")
    pixels = defective = not_finite = 0
    for image, mask in zip(maps, masks, strict=True):
        if np.shape(image) != np.shape(mask):
            raise ValueError(
                f"pixel_metrics: a map {np.shape(image)} and its mask {np.shape(mask)} differ in number or size; "
                "resize the maps to the masks first"
            )
        pixels += image.size
        not_finite += image.size - int(np.isfinite(image).sum())
        defective += int(np.count_nonzero(mask))
    if not_finite:
        raise Undefined(f"{not_finite} of {pixels} pixels of the maps are not finite")
    if not defective:
        raise Undefined("no pixel of any mask is defective")
    if defective == pixels:
        raise Undefined("every pixel is defective")
    return _Totals(pixels - defective, defective)


@dataclass(frozen=True)
class _Values:
    """Distinct values of defective pixels float[D], ascending; how many pixels have each, int64[D]; and the sum over
    those of 1 / the area of the pixel's region, float64[D]."""

    values: np.ndarray
    counts: np.ndarray
    weights: np.ndarray


def _highest_values(
    maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], top: float, most: int
) -> tuple[_Values, bool]:
    """The `most` highest distinct values of defective pixels below `top`, and whether there are lower ones."""
    parts: list[_Values] = []
    held, low, rest = 0, -np.inf, False
    for image, mask in zip(maps, masks, strict=True):
        if not np.any(mask):
            continue
        binary = _binary(mask)
        _, regions, facts, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
        chosen = binary != 0
        values, weights = image[chosen], 1.0 / facts[regions[chosen], cv2.CC_STAT_AREA]
        if rest or top < np.inf:
            inside = (values >= low) & (values < top)
            values, weights = values[inside], weights[inside]
        parts.append(_Values(values, np.ones(values.size, np.int64), weights))
        held += values.size
        if held > 2 * most:
            parts = [_united(parts)]
            if parts[0].values.size > most:
                parts, rest = [_last(parts[0], most)], True
                low = parts[0].values[0]
            held = parts[0].values.size
    united = _united(parts)
    if united.values.size > most:
        return _last(united, most), True
    return united, rest


def _united(parts: list[_Values]) -> _Values:
    """Each value once, ascending."""
    values = np.concatenate([part.values for part in parts])
    order = np.argsort(values, kind="stable")
    values = values[order]
    starts = np.r_[0, np.flatnonzero(values[1:] != values[:-1]) + 1]
    counts = np.add.reduceat(np.concatenate([part.counts for part in parts])[order], starts)
    weights = np.add.reduceat(np.concatenate([part.weights for part in parts])[order], starts)
    return _Values(values[starts], counts, weights)


def _last(values: _Values, most: int) -> _Values:
    return _Values(values.values[-most:], values.counts[-most:], values.weights[-most:])


def _background(
    maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], low: float, top: float, values: int
) -> Iterator[np.ndarray]:
    """The background's pixels in [low, top), in chunks float[…] that the caller may sort in place."""
    room = min(max(CHUNK[0], 4 * values), CHUNK[1])  # searching a chunk for all values should cost less than sorting it
    parts, held = [], 0
    for image, mask in zip(maps, masks, strict=True):
        good = image[np.asarray(mask) == 0] if np.any(mask) else np.ravel(image)
        if low > -np.inf or top < np.inf:
            good = good[(good >= low) & (good < top)]
        parts.append(good)
        held += good.size
        if held >= room:
            yield np.concatenate(parts)
            parts, held = [], 0
    if held:
        yield np.concatenate(parts)


def _rank(values: np.ndarray, chunks: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Of the pixels in the chunks: int64[D] how many are below each value, int64[D] how many not above it, and how many
    there are."""

    def rank(chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        chunk.sort()  # numpy sorts and searches outside the interpreter's lock
        below = np.searchsorted(chunk, values)
        upto, tied = below.copy(), np.flatnonzero(chunk.take(below, mode="clip") == values)
        upto[tied] = np.searchsorted(chunk, values[tied], side="right")
        return below, upto, chunk.size

    less, not_above, between = np.zeros(values.size, np.int64), np.zeros(values.size, np.int64), 0
    for below, upto, size in prefetch(rank, chunks, ahead=THREADS, threads=THREADS):
        less += below
        not_above += upto
        between += size
    return less, not_above, between


class _Sums:
    """The metrics' sums over values, from the highest down, in as many parts as there are passes."""

    def __init__(self, totals: _Totals):
        self.totals = totals
        self.false = self.true = 0  # pixels of each kind at or above the values so far
        self.recall = 0.0  # summed over regions
        self.pairs = 0  # twice the pairs of a defective pixel above one of the background, ties counted once
        self.precision, self.best_f1, self.area = 0.0, 0.0, 0.0

    def add(self, found: _Values, less: np.ndarray, not_above: np.ndarray, between: int) -> None:
        """The next lower values; `between`: background pixels from the lowest of them up to those dealt with."""
        total = self.totals
        counts = found.counts[::-1]
        false_before = self.false + between - not_above[::-1]  # above each value, and with those at it:
        false = self.false + between - less[::-1]
        true = self.true + np.cumsum(counts)
        recall = self.recall + np.cumsum(found.weights[::-1])
        self.pairs += _dot(counts, (total.good - false) + (total.good - false_before))
        self.precision += float(np.sum(counts / total.defective * (true / (true + false))))
        self.best_f1 = max(self.best_f1, float(np.max(2.0 * true / (true + false + total.defective))))
        # Recall stays while the threshold falls to the next value, and there rises along a line over the ties.
        x = np.r_[self.false, np.stack([false_before, false], axis=1).ravel()]
        y = np.r_[self.recall, np.stack([np.r_[self.recall, recall[:-1]], recall], axis=1).ravel()]
        self.area += _area(x, y, AUPRO_LIMIT * total.good)
        self.false, self.true, self.recall = int(false[-1]), int(true[-1]), float(recall[-1])

    def metrics(self) -> dict[str, float]:
        total = self.totals
        limit = AUPRO_LIMIT * total.good
        area = self.area + _area(np.array([self.false, total.good]), np.full(2, self.recall), limit)
        return {
            "pixel_auroc": self.pairs / (2 * total.good * total.defective),
            "pixel_ap": self.precision,
            "pixel_f1_max": self.best_f1,
            "pixel_aupro": float(area / (limit * self.recall)),  # the recall of all regions is their number
        }


def _dot(counts: np.ndarray, numbers: np.ndarray) -> int:
    """Σ counts · numbers of int64[D], in two halves because the sum may exceed int64."""
    return (int(np.dot(counts, numbers >> 24)) << 24) + int(np.dot(counts, numbers & 0xFFFFFF))


def _area(x: np.ndarray, y: np.ndarray, limit: float) -> float:
    """Under the line through points of rising x, up to x = limit."""
    inside = int(np.searchsorted(x, limit, side="right"))
    if not inside:
        return 0.0
    area = float(np.trapezoid(y[:inside], x[:inside]))
    if inside < len(x):
        at_limit = y[inside - 1] + (y[inside] - y[inside - 1]) * (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        area += (limit - x[inside - 1]) * (y[inside - 1] + at_limit) / 2
    return area


def _binary(mask: np.ndarray) -> np.ndarray:
    return (np.asarray(mask) != 0).view(np.uint8)

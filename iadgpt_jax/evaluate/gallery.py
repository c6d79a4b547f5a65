"""Cards of the reports: what the model was shown, what it said and where it looked, hits and misses alike."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from iadgpt_jax.evaluate.heatmap import overlay

SHOWN = 6  # cards of each kind that stand open; the rest unfold on demand


@dataclass(frozen=True)
class GalleryItem:
    """One inspection to show.

    references: uint8[H, W, 3] each, possibly none; query: uint8[H, W, 3], or None where the photograph is not at hand;
    mask: uint8[H, W] or None; map: float[h, w] on the category's scale low … high; score: probability of "defective",
    None where the score is none; label: truly defective? name: of the photograph; note: more to say of the score.
    """

    references: Sequence[np.ndarray]
    query: np.ndarray | None
    mask: np.ndarray | None
    map: np.ndarray
    low: float
    high: float
    score: float | None
    label: bool
    category: str
    answer: str
    truth: str
    verdict: Literal["hit", "miss"]
    name: str = ""
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture inside the page: JPEG as a data URI, its size in pixels, and its words for those who cannot see it."""

    source: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Card:
    """An item ready to be shown; `mask` is None where there is nothing to draw, `query` where it is not at hand."""

    item: GalleryItem
    references: Sequence[Picture]
    query: Picture | None
    mask: Picture | None
    heat: Picture


def cards(items: Sequence[GalleryItem], side: int, quality: int) -> dict[str, list[Card]]:
    """{"hit": cards, "miss": cards}; pictures have `side` pixels on their longer side, at a JPEG quality."""
    made: dict[str, list[Card]] = {"hit": [], "miss": []}
    for item in items:
        made[item.verdict].append(card(item, side, quality))
    return made


def picture(image: np.ndarray, alt: str, *, side: int, quality: int) -> Picture:
    """uint8[H, W, 3] as JPEG, no larger than `side` pixels."""
    scale = side / max(image.shape[:2])
    if scale < 1:
        image = _resized(image, scale, cv2.INTER_AREA)
    stream = io.BytesIO()
    # Full colour resolution: halved, the reds of a heat map bleed over the edges they should mark.
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "JPEG", quality=quality, subsampling=0, optimize=True)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    height, width = image.shape[:2]
    return Picture(f"data:image/jpeg;base64,{data}", width, height, alt)


def card(item: GalleryItem, side: int, quality: int) -> Card:
    """Pictures of an item with `side` pixels on their longer side, at a JPEG quality."""
    # Small photographs are enlarged before drawing on them: smooth heat and fine outlines on 112 pixels need more.
    ground = _ground(item) if item.query is None else item.query
    ground = _resized(ground, max(side / max(ground.shape[:2]), 1.0), cv2.INTER_CUBIC)
    mask = item.mask if item.mask is not None and np.any(item.mask) else None

    def shown(image: np.ndarray, alt: str) -> Picture:
        return picture(image, f"{item.category}: {alt}", side=side, quality=quality)

    white = None if mask is None else (mask != 0).astype(np.uint8)[..., None].repeat(3, axis=2) * 255
    return Card(
        item=item,
        references=[shown(reference, f"reference {i + 1}") for i, reference in enumerate(item.references)],
        query=None if item.query is None else shown(item.query, "inspected image"),
        mask=None if white is None else shown(white, "true mask"),
        heat=shown(overlay(ground, item.map, item.low, item.high, mask), "heat map"),
    )


def _ground(item: GalleryItem) -> np.ndarray:
    """uint8[H, W, 3]: grey, to lay a map over where there is no photograph; of the mask's size, or the map's shape."""
    return np.full((*(item.map if item.mask is None else item.mask).shape, 3), 72, np.uint8)


def _resized(image: np.ndarray, scale: float, interpolation: int) -> np.ndarray:
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=interpolation)

"""The gallery of the report: what the model was shown, what it said and where it looked, hits and misses alike."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from iadgpt_jax.evaluate.heatmap import overlay

SHOWN = 6  # cards of each kind that stand open; the rest unfold on demand


@dataclass(frozen=True)
class GalleryItem:
    """One inspection to show.

    references: uint8[H, W, 3] each, possibly none; query: uint8[H, W, 3]; mask: uint8[H, W] or None; map: float[h, w]
    on the category's scale low … high; score: probability of "defective"; label: truly defective?
    """

    references: Sequence[np.ndarray]
    query: np.ndarray
    mask: np.ndarray | None
    map: np.ndarray
    low: float
    high: float
    score: float
    label: bool
    category: str
    answer: str
    truth: str
    verdict: Literal["hit", "miss"]


def gallery_html(items: Sequence[GalleryItem], side: int, quality: int) -> str:
    """Cards of all items, hits first; pictures have `side` pixels on their longer side, at a JPEG quality."""
    sections = []
    for verdict, heading in (("hit", "Hits"), ("miss", "Misses")):
        chosen = [item for item in items if item.verdict == verdict]
        cards = [_card(item, side, quality) for item in chosen]
        if cards:
            sections.append(f'<h3>{heading}</h3><div class="cards">{"".join(cards[:SHOWN])}</div>')
        if cards[SHOWN:]:
            more = f"{len(cards) - SHOWN} more {heading.lower() if len(cards) > SHOWN + 1 else verdict}"
            folded = f'<div class="cards">{"".join(cards[SHOWN:])}</div>'
            sections.append(f"<details><summary>{more}</summary>{folded}</details>")
    return "".join(sections)


def picture_html(image: np.ndarray, alt: str, *, side: int, quality: int) -> str:
    """An `<img>` that carries uint8[H, W, 3] as JPEG inside, no larger than `side` pixels."""
    scale = side / max(image.shape[:2])
    if scale < 1:
        image = _resized(image, scale, cv2.INTER_AREA)
    stream = io.BytesIO()
    # Full colour resolution: halved, the reds of a heat map bleed over the edges they should mark.
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "JPEG", quality=quality, subsampling=0, optimize=True)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    height, width = image.shape[:2]
    return f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{escape(alt)}">'


def _card(item: GalleryItem, side: int, quality: int) -> str:
    # Small photographs are enlarged before drawing on them: smooth heat and fine outlines on 112 pixels need more.
    scale = max(side / max(item.query.shape[:2]), 1.0)
    query = _resized(item.query, scale, cv2.INTER_CUBIC)
    has_mask = item.mask is not None and bool(np.any(item.mask))

    def picture(image: np.ndarray, alt: str) -> str:
        return picture_html(image, alt, side=side, quality=quality)

    if has_mask:
        white = (item.mask != 0).astype(np.uint8)[..., None].repeat(3, axis=2) * 255
        truth_tile = picture(white, "true mask")
    else:
        truth_tile = f'<div class="blank">{"not drawn" if item.label else "no defect"}</div>'
    count = len(item.references)
    references = "".join(picture(reference, f"reference {i + 1}") for i, reference in enumerate(item.references))
    if not count:
        references = '<div class="blank">none</div>'
    heat = overlay(query, item.map, item.low, item.high, item.mask if has_mask else None)
    tiles = (
        (f'<div class="refs n{min(count, 5)}">{references}</div>', "reference" if count == 1 else "references"),
        (picture(item.query, "inspected image"), "inspected"),
        (truth_tile, "true mask"),
        (picture(heat, "heat map"), "heat map"),
    )
    figures = "".join(f"<figure>{tile}<figcaption>{caption}</figcaption></figure>" for tile, caption in tiles)
    label = "defective" if item.label else "good"
    said = f'<p class="said">{escape(item.answer)}</p>' if item.answer else ""
    truth = f'<p class="truth"><span>Truth</span> {escape(item.truth)}</p>' if item.truth else ""
    mark = "✓ hit" if item.verdict == "hit" else "✕ miss"
    return (
        f'<article class="card {item.verdict}"><header><h4>{escape(item.category)}</h4>'
        f'<span class="chip {label}">{label}</span>'
        f'<span class="score" title="probability of defective">score <b>{item.score:.2f}</b>'
        f'<i><i style="width:{100 * min(max(item.score, 0.0), 1.0):.0f}%"></i></i></span>'
        f'<span class="mark">{mark}</span></header><div class="tiles">{figures}</div>{said}{truth}</article>'
    )


def _resized(image: np.ndarray, scale: float, interpolation: int) -> np.ndarray:
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=interpolation)

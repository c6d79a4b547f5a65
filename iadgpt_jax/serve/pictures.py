"""An inspection as JSON and as pictures: the overlay and the map as PNGs."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from iadgpt_jax.data.images import encode_png
from iadgpt_jax.evaluate.heatmap import map_png16, overlay
from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.infer.product import Product
from iadgpt_jax.serve.photographs import Photograph


def overlay_png(product: Product, photograph: Photograph, found: Inspection) -> bytes:
    """The map laid over the photograph, in the colours of the product's scale."""
    return encode_png(overlay(photograph.shown, found.map, *product.scale([found.map])))


def map_png(product: Product, photograph: Photograph, found: Inspection) -> bytes:
    """The map at the size of the overlay, as 16-bit grey: 0 is cold, 65535 hottest; both values are noted inside."""
    height, width = photograph.shown.shape[:2]
    full = cv2.resize(found.map, (width, height), interpolation=cv2.INTER_LINEAR)
    low, high = product.scale([found.map])
    low = min(low, float(found.map.min()))
    return map_png16(full, low, max(high, float(np.nextafter(np.float32(low), np.float32(np.inf)))))


def as_json(product: Product, photograph: Photograph, found: Inspection, pictures: bool) -> dict:
    """What a client is told about one photograph. pictures: with overlay and map, as data URLs."""
    told = {
        "file": photograph.name,
        "defective": product.threshold.rejects(found.margin),
        "score": found.score,
        "margin": found.margin,
        "answer": found.answer,
        "explanation": found.explanation,
        "height": photograph.size[0],
        "width": photograph.size[1],
    }
    if pictures:
        told["overlay"] = _data_url(overlay_png(product, photograph, found))
        told["map"] = _data_url(map_png(product, photograph, found))
    return told


def described(product: Product) -> dict:
    """What a client is told about a product."""
    threshold = product.threshold
    return {
        "name": product.name,
        "references": len(product.references),
        "threshold": {
            "score": threshold.score, "margin": threshold.margin, "share": threshold.share,
            "vouched": threshold.vouched, "good": list(threshold.good), "told": str(threshold),
        },
        "ratio": product.ratio,
        "side": product.side,
        "tiles": "{}x{}".format(*product.tiles),
        "checkpoint": product.checkpoint,
    }  # fmt: skip


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"

"""The picture of one inspection: the map over the photograph, its hot region outlined, and beneath it a strip with
verdict, score and the scale of the colours.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from iadgpt_jax.evaluate.heatmap import outline, overlay

LEAST, MOST = 400, 1600  # pixels of a picture's width at least, and of its longer side at most
STRIP = 0.13  # of the width: height of the strip
PAPER, INK, SOFT = (252, 251, 248), (31, 30, 27), (106, 102, 94)
DEFECTIVE, NORMAL = (168, 50, 31), (47, 111, 79)


def verdict_picture(
    image: np.ndarray, map_: np.ndarray, low: float, high: float, *, defective: bool, score: float, limit: float,
    calm: float | None,
) -> np.ndarray:  # fmt: skip
    """uint8[H', W', 3] of a photograph uint8[H, W, 3] and its map float[h, w].

    low, high: values shown as cold and as hottest. score, limit: probability of "defective", and the one above which a
    part is rejected. calm: the highest value of the maps of good parts, None where there is none to compare with. On a
    part that is rejected, what is hotter than that and than half of the scale is outlined.
    """
    height, width = image.shape[:2]
    factor = min(max(LEAST / width, 1), MOST / max(height, width))
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    picture = overlay(image, map_, low, high)
    if defective and calm is not None:
        hot = cv2.resize(map_, size, interpolation=cv2.INTER_LINEAR) > max(calm, (low + high) / 2)
        picture = outline(picture, hot)
    return np.concatenate([picture, _strip(size[0], low, high, defective, score, limit, calm)])


def _strip(width, low, high, defective, score, limit, calm) -> np.ndarray:
    height = max(round(STRIP * min(width, 800)), 44)
    text, small = ImageFont.load_default(height * 0.34), ImageFont.load_default(height * 0.22)
    strip = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(strip)
    edge, middle = height * 0.2, height * 0.5
    verdict, colour = ("defective", DEFECTIVE) if defective else ("normal", NORMAL)
    draw.text((edge, edge * 0.7), verdict, colour, text)
    draw.text((edge + draw.textlength(verdict + "  ", text), edge * 0.7), f"score {score:.3f}", INK, text)
    draw.text((edge, middle + edge * 0.6), f"defective above {limit:.3f}", SOFT, small)

    # The colours as they lie over grey, and where on them the good parts end.
    left, right, top = width * 0.56, width - edge, edge
    bar = overlay(np.full((8, 256, 3), 150, np.uint8), np.linspace(low, high, 256)[None], low, high)
    bar = Image.fromarray(bar).resize((round(right - left), round(middle - top)))
    strip.paste(bar, (round(left), round(top)))
    told = "no good part to compare with"
    if calm is not None and high > low:
        at = left + (right - left) * min((calm - low) / (high - low), 1)
        draw.line([(at, top - edge * 0.3), (at, middle + edge * 0.3)], INK, max(round(height / 44), 1))
        told = "good parts reach the mark"
    draw.text((left, middle + edge * 0.6), told, SOFT, small)
    return np.asarray(strip)

"""Heat maps for eyes and for machines: a map laid over its photograph, and a map kept as a 16-bit PNG.

`low` and `high` are the two ends of the scale, the same for all images of a category: a per-image scale would make
every good product glow somewhere.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from iadgpt_jax.whole_file import whole_file

OPACITY = 0.8  # of the hottest colour; the photograph must stay recognisable beneath
_MAX16 = 65535


def unit_map(map_: np.ndarray, low: float, high: float) -> np.ndarray:
    """float32[H, W]: low becomes 0, high becomes 1, values beyond are clipped. All 0 when high is not above low."""
    if not high > low:
        return np.zeros(map_.shape, np.float32)
    return np.clip((map_.astype(np.float32) - low) / (high - low), 0, 1)


def overlay(image: np.ndarray, map_: np.ndarray, low: float, high: float, mask: np.ndarray | None = None) -> np.ndarray:
    """Lays a map over its photograph.

    Cold regions show the photograph in muted colours; heat goes from violet over red to yellow with an opacity and a
    lightness that grow with the value (matplotlib's inferno).

    Args:
      image: uint8[H, W, 3].
      map_: float[h, w]; brought to the image's size bilinearly.
      low, high: the values shown as cold and as hottest.
      mask: uint8[H, W], anything other than 0 is defective; its outline is drawn in white when given.

    Returns:
      uint8[H, W, 3].
    """
    height, width = image.shape[:2]
    heat = cv2.resize(unit_map(map_, low, high), (width, height), interpolation=cv2.INTER_LINEAR)
    colors = cv2.applyColorMap((heat * 255).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    muted = 0.55 * image + 0.45 * gray
    opacity = OPACITY * heat[..., None] ** 0.75  # inferno begins black: faded in, low values leave the photograph alone
    picture = np.clip((1 - opacity) * muted + opacity * colors, 0, 255).astype(np.uint8)
    return picture if mask is None else outline(picture, mask)


def outline(image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    """uint8[H, W, 3]: the image with the mask's outline, a line in `color` on a shadow so it shows on anything."""
    size = image.shape[1], image.shape[0]
    binary = cv2.resize((mask != 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(binary, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    thin = max(1, round(max(size) / 200))
    halo = cv2.drawContours(np.ascontiguousarray(image).copy(), contours, -1, (0, 0, 0), thin + 2)
    picture = cv2.addWeighted(np.ascontiguousarray(image), 0.5, halo, 0.5, 0)
    return cv2.drawContours(picture, contours, -1, color, thin)


def save_map_png16(path: str | Path, map_: np.ndarray, low: float, high: float) -> None:
    """Writes `map_png16` to a file, which appears complete or not at all."""
    png = map_png16(map_, low, high)
    with whole_file(path) as stream:
        stream.write(png)


def map_png16(map_: np.ndarray, low: float, high: float) -> bytes:
    """A map as a 16-bit grey PNG (low is 0, high is 65535), with both ends noted inside.

    Values survive to within (high − low) / 65535; beyond the ends they are clipped. Raises ValueError when high is not
    above low.
    """
    if not high > low:
        raise ValueError(f"the map's scale runs from {low} to {high}; high must be above low.")
    scaled = np.clip((map_.astype(np.float64) - low) / (high - low), 0, 1)
    notes = PngInfo()
    notes.add_text("low", repr(float(low)))
    notes.add_text("high", repr(float(high)))
    buffer = io.BytesIO()
    Image.fromarray((scaled * _MAX16).round().astype(np.uint16)).save(buffer, format="PNG", pnginfo=notes)
    return buffer.getvalue()

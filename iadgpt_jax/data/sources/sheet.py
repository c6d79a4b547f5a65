"""The picture sheet of a prepared dataset: a row a category, good ones left, others right, defects outlined."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.data.sources.resize import squash
from iadgpt_jax.data.sources.sample import Sample

ROWS, GOOD, OTHER = 24, 3, 5  # categories, and pictures of each kind a row
SIDE, GAP, NAME = 112, 4, 150  # pixels: of a picture, between pictures, for the category's name
_PAPER, _TEXT, _OUTLINE = 255, (70, 74, 82), (255, 30, 70)
_QUALITY = 85


def draw_sheet(directory: Path) -> bytes:
    """The sheet of the prepared dataset in a folder, as JPEG: at most ROWS categories, evenly chosen."""
    source = PreparedSource(directory, cache_bytes=0)
    chosen: dict[str, tuple[list[int], list[int]]] = {}
    for index, record in enumerate(source.records):
        good, other = chosen.setdefault(record.category, ([], []))
        row, most = (good, GOOD) if record.defective is False else (other, OTHER)
        if len(row) < most:
            row.append(index)
    names = list(chosen)
    picked = [names[i * len(names) // min(ROWS, len(names))] for i in range(min(ROWS, len(names)))]
    strips = [_strip(source, name, *chosen[name]) for name in picked]
    sheet = np.concatenate(strips, axis=0)
    return cv2.imencode(".jpg", sheet[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))[1].tobytes()


def _strip(source: PreparedSource, name: str, good: list[int], other: list[int]) -> np.ndarray:
    """One category: uint8[SIDE + GAP, width, 3]."""
    paper = np.full((SIDE, NAME, 3), _PAPER, np.uint8)
    cells = [cv2.putText(paper, name[:20], (4, SIDE // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _TEXT, 1, cv2.LINE_AA)]
    for indices, places in ((good, GOOD), (other, OTHER)):
        for place in range(places):
            cells.append(np.full((SIDE, 3 * GAP if place == 0 else GAP, 3), _PAPER, np.uint8))
            cells.append(_picture(source[indices[place]]) if place < len(indices) else _nothing())
    strip = np.concatenate(cells, axis=1)
    return np.pad(strip, ((0, GAP), (0, 0), (0, 0)), constant_values=_PAPER)


def _picture(sample: Sample) -> np.ndarray:
    """uint8[SIDE, SIDE, 3], with the mask's outline where there is one."""
    sample = squash(sample, SIDE)
    if sample.mask is None or not sample.mask.any():
        return sample.image
    contours = cv2.findContours(sample.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    return cv2.drawContours(np.array(sample.image), contours, -1, _OUTLINE, 1, cv2.LINE_AA)


def _nothing() -> np.ndarray:
    return np.full((SIDE, SIDE, 3), _PAPER, np.uint8)

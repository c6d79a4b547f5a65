"""Inspecting in tiles: a photograph is cut into overlapping parts, each is inspected, and their maps become one.

    tiled = Tiled(inspector, (2, 2))
    tiled.inspect(query, references)      # as an Inspector's; every tile against the same tile of each reference

The model sees a photograph squashed to its square, in which a small defect may be less than a token. In a tile it is
larger. The same tile of the references must show the same place, so parts have to lie alike in all photographs; and the
costs are those of so many inspections.

Suffixes: H, W the photograph's height and width; h, w cells of a map.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.image_input import ImageInput, as_list, as_photograph
from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.infer.inspector import QUERIES_AT_ONCE, Inspector
from iadgpt_jax.infer.product import MOST_TILES

OVERLAP = 0.25  # of a tile's height and width, with its neighbour
WHOLE = (1, 1)


class Box(NamedTuple):
    """Pixels [top, bottom) × [left, right) of a photograph."""

    top: int
    left: int
    bottom: int
    right: int

    def of(self, picture: np.ndarray) -> np.ndarray:
        return picture[self.top : self.bottom, self.left : self.right]


class Tiled:
    """An Inspector whose photographs are cut into tiles = (rows, columns).

    The margin of a photograph is that of its most defective tile: compare it with those of other photographs in as many
    tiles, not with those of whole ones.
    """

    def __init__(self, inspector: Inspector, tiles: tuple[int, int]):
        self.inspector, self.tiles = inspector, tiles
        self.ratio, self.side, self.prompt = inspector.ratio, inspector.side, inspector.prompt
        self.unit = inspector.unit * max(tiles)  # a tile smaller than a token shows nothing

    def inspect(self, query: ImageInput, references: Sequence[ImageInput] = (), *, explain: bool = True) -> Inspection:
        """As `Inspector.inspect`."""
        return next(self.inspections([query], references, explain=explain))

    def inspections(
        self, queries: Iterable[ImageInput], references: Sequence[ImageInput] = (), *, explain: bool = True
    ) -> Iterator[Inspection]:
        """As `Inspector.inspections`. The explanation is about the most defective tile."""
        good = [as_photograph(reference, self.unit) for reference in as_list(references)]
        queries = as_list(queries)
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            pictures = [as_photograph(query, self.unit) for query in queries[start : start + QUERIES_AT_ONCE]]
            # Tile by tile: the references of one are read once for all these photographs.
            found = [
                list(
                    self.inspector.inspections(cut(pictures, at, self.tiles), cut(good, at, self.tiles), explain=False)
                )
                for at in range(self.tiles[0] * self.tiles[1])
            ]
            for picture, tiles in zip(pictures, zip(*found, strict=True), strict=True):
                yield self._together(picture, tiles, good if explain else None)

    def _together(
        self, picture: np.ndarray, tiles: Sequence[Inspection], explained_by: Sequence[np.ndarray] | None
    ) -> Inspection:
        worst = max(range(len(tiles)), key=lambda at: tiles[at].margin)
        map_ = stitch([tile.map for tile in tiles], boxes(picture.shape[:2], self.tiles), picture.shape[:2])
        words = ""
        if explained_by is not None:
            query, good = cut([picture], worst, self.tiles)[0], cut(explained_by, worst, self.tiles)
            words = self.inspector.ask(prompts.REASON, query, good)
        return dataclasses.replace(tiles[worst], map=map_, explanation=words, size=picture.shape[:2])


def under(inspector: Inspector, ratio: float, side: int, tiles: tuple[int, int]) -> Inspector | Tiled:
    """The same model under other settings, those of a product. Raises InputError for settings that cannot be."""
    other = inspector.under(ratio=ratio, side=side)
    return other if tiles == WHOLE else Tiled(other, tiles)


def parse_tiles(text: str) -> tuple[int, int]:
    """ "2x3" as (rows, columns). Raises InputError for what is none, or too many."""
    match = re.fullmatch(r"(\d)x(\d)", text)
    tiles = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(1 <= count <= MOST_TILES for count in tiles):
        raise InputError(
            f"tiles: {text[:40]!r} is none; write rows and columns as 2x2, at most {MOST_TILES}x{MOST_TILES}"
        )
    return tiles


def boxes(size: tuple[int, int], tiles: tuple[int, int]) -> list[Box]:
    """The tiles of a photograph of `size` (H, W), in raster order. They cover it; neighbours overlap by OVERLAP."""
    rows, columns = (_spans(length, count) for length, count in zip(size, tiles, strict=True))
    return [Box(top, left, bottom, right) for top, bottom in rows for left, right in columns]


def cut(pictures: Sequence[np.ndarray], at: int, tiles: tuple[int, int]) -> list[np.ndarray]:
    """Tile number `at` of each photograph uint8[H, W, 3]."""
    return [boxes(picture.shape[:2], tiles)[at].of(picture) for picture in pictures]


def stitch(maps: Sequence[np.ndarray], places: Sequence[Box], size: tuple[int, int]) -> np.ndarray:
    """Maps float32[h, w] of tiles as one float32[H', W'] of a photograph of `size`, in cells about as large as theirs.

    Where tiles overlap their values are mixed, each weighted by its distance from the tile's own edge, so that no seam
    shows and a constant map stays constant.
    """
    if len(maps) == 1:
        return maps[0]
    height, width = size
    cells = maps[0].shape
    high, wide = (
        max(round(cells[axis] * size[axis] / max(box[axis + 2] - box[axis] for box in places)), 1) for axis in (0, 1)
    )
    # In fine cells first, several in each coarse one: a tile's edge need not fall on an edge of a coarse cell.
    fine = 4
    total, weights = np.zeros((2, high * fine, wide * fine), np.float64)
    for map_, box in zip(maps, places, strict=True):
        top, bottom = round(box.top * high * fine / height), round(box.bottom * high * fine / height)
        left, right = round(box.left * wide * fine / width), round(box.right * wide * fine / width)
        values = cv2.resize(map_.astype(np.float64), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
        weight = np.outer(_ramp(bottom - top), _ramp(right - left))
        total[top:bottom, left:right] += weight * values
        weights[top:bottom, left:right] += weight
    mixed = (total / weights).reshape(high, fine, wide, fine).mean(axis=(1, 3))
    return mixed.astype(np.float32)


def _spans(length: int, count: int) -> list[tuple[int, int]]:
    """[start, end) of `count` spans of equal length that cover [0, length) and overlap by OVERLAP."""
    span = length / (count - (count - 1) * OVERLAP)
    starts = [number * span * (1 - OVERLAP) for number in range(count)]
    return [(round(start), min(round(start + span), length)) for start in starts]


def _ramp(length: int) -> np.ndarray:
    """float64[length]: rises from both ends to the middle, above 0 everywhere."""
    at = np.arange(length) + 0.5
    return np.minimum(at, length - at)

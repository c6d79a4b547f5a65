"""Inspecting in tiles: they cover the photograph, their maps fit together without seams, and the worst tile decides."""

from __future__ import annotations

import numpy as np
import pytest

from iadgpt_jax.data.detection_prompt import NORMALITY
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.inspection import Inspection
from iadgpt_jax.infer.tiles import OVERLAP, Tiled, boxes, cut, parse_tiles, stitch

SIDE = 4  # cells of a map


class Compares:
    """Stands for an Inspector: a map cell is the difference of mean grey, query against first reference, after both
    were squashed to SIDE² cells; so less than a cell is averaged away. The margin is the largest cell, less 10."""

    ratio, side, unit, prompt = 1.0, 112, 28, NORMALITY

    def inspections(self, queries, references=(), *, explain=True):
        for query in queries:
            map_ = np.abs(squash(query) - squash(references[0]))
            yield Inspection(float(map_.max()) - 10, map_.astype(np.float32), "", "", query.shape[:2])

    def ask(self, question, query, references):
        return f"brightest {query.max()}"


def squash(picture: np.ndarray) -> np.ndarray:
    rows = np.array_split(picture[..., 0].astype(float), SIDE, axis=0)
    return np.array([[cell.mean() for cell in np.array_split(row, SIDE, axis=1)] for row in rows])


@pytest.mark.parametrize(
    "size, tiles", [((448, 448), (2, 2)), ((301, 997), (3, 5)), ((100, 60), (1, 1)), ((57, 200), (2, 1))]
)
def test_tiles_cover_every_pixel_and_overlap_by_the_share(size, tiles):
    covered = np.zeros(size, int)
    places = boxes(size, tiles)
    for box in places:
        box.of(covered)[:] += 1
    assert covered.min() == 1 and len(places) == tiles[0] * tiles[1]
    heights, widths = ({box[axis + 2] - box[axis] for box in places} for axis in (0, 1))
    assert max(heights) - min(heights) <= 1 and max(widths) - min(widths) <= 1
    if tiles[1] > 1:
        assert places[0].right - places[1].left == pytest.approx(OVERLAP * max(widths), abs=1.5)


@pytest.mark.parametrize("tiles", [(2, 2), (3, 2), (1, 4)])
def test_maps_of_one_surface_are_that_surface_without_seams(tiles):
    """A plane, sampled by every tile at its own cells, comes back as the plane: bilinear reading is exact inside."""
    size, cells = (480, 640), 8
    places = boxes(size, tiles)

    def plane(y, x):
        return 2.0 + 0.5 * y / size[0] + 0.25 * x / size[1]

    maps = []
    for box in places:
        y = box.top + (np.arange(cells) + 0.5) * (box.bottom - box.top) / cells
        x = box.left + (np.arange(cells) + 0.5) * (box.right - box.left) / cells
        maps.append(plane(y[:, None], x[None, :]).astype(np.float32))
    whole = stitch(maps, places, size)
    y, x = ((np.arange(n) + 0.5) * length / n for n, length in zip(whole.shape, size, strict=True))
    # Half a cell at a tile's edge is read as its nearest cell: 1/32 of a tile's rise, which is below .4 here.
    np.testing.assert_allclose(whole, plane(y[:, None], x[None, :]), atol=0.4 / (2 * cells))
    flat = stitch([np.full((cells, cells), 3.0, np.float32)] * len(places), places, size)
    np.testing.assert_allclose(flat, 3.0, rtol=1e-6)
    assert all(count >= wanted * cells * 0.8 for count, wanted in zip(whole.shape, tiles, strict=True))


def test_a_defect_that_the_squashed_photograph_averages_away_is_found_in_a_tile_and_in_its_place():
    good = np.full((448, 448, 3), 100, np.uint8)
    part = good.copy()
    part[300:320, 60:80] = 255  # 20 pixels of 448: less than a fifth of a cell's side, 5 grey levels of its mean
    whole = next(Compares().inspections([part], [good]))
    tiled = Tiled(Compares(), (3, 3))
    found, calm = tiled.inspections([part, good], [good])
    assert whole.margin < 0 < found.margin and calm.margin == -10
    assert found.explanation == "brightest 255" and found.size == (448, 448)
    y, x = np.unravel_index(found.pixel_map.argmax(), found.size)
    cell = 448 / found.map.shape[0]
    assert abs(y - 310) <= cell and abs(x - 70) <= cell


def test_one_tile_is_the_whole_photograph():
    rng = np.random.default_rng(0)
    part, good = rng.integers(0, 256, (2, 100, 130, 3), dtype=np.uint8)
    whole = next(Compares().inspections([part], [good]))
    tiled = Tiled(Compares(), (1, 1)).inspect(part, [good], explain=False)
    assert tiled.margin == whole.margin and cut([part], 0, (1, 1))[0].shape == part.shape
    np.testing.assert_array_equal(tiled.map, whole.map)


def test_tiles_are_written_as_rows_by_columns():
    assert parse_tiles("2x3") == (2, 3)
    for wrong in ("2", "0x2", "9x1", "2x", "axb", "2x2x2", "22x2"):
        with pytest.raises(InputError, match="2x2"):
            parse_tiles(wrong)
    with pytest.raises(InputError, match="less than one token"):
        Tiled(Compares(), (2, 2)).inspect(np.zeros((40, 90, 3), np.uint8), [np.zeros((90, 90, 3), np.uint8)])

"""The picture of an inspection: dark where good parts are as hot, outlined where a rejected part is hotter, a strip."""

import numpy as np
import pytest

from iadgpt_jax.evaluate.verdict_picture import LEAST, MOST, verdict_picture
from iadgpt_jax.infer.product import map_scale

CALM = (1.0, 2.0)  # the middle and the highest value on good parts


def draw(map_, defective, size=(500, 500), calm=CALM[1]):
    low, high = map_scale(CALM, [map_])
    image = np.full((*size, 3), 120, np.uint8)
    return verdict_picture(image, map_, low, high, defective=defective, score=0.9, limit=0.5, calm=calm)


def test_a_part_as_calm_as_the_good_ones_shows_at_most_half_of_the_scale():
    calm, hot = (draw(np.array([[1.0, 1.0], [1.0, top]]), False)[480, 480].astype(int) for top in (2.0, 9.0))
    assert hot.sum() > calm.sum() + 200


@pytest.mark.parametrize("defective", [True, False])
def test_only_a_rejected_part_has_an_outline(defective):
    map_ = np.ones((5, 5))
    map_[1:4, 1:4] = 9.0
    with_, without = draw(map_, defective), draw(map_, defective, calm=None)
    white = (with_[:500] == 255).all(-1)
    assert white.any() == defective and not (without[:500] == 255).all(-1).any()
    if defective:  # half of the scale lies half-way between the centres of hot cells and those around them
        rows = np.flatnonzero(white.any(1))
        assert abs(rows.min() - 100) <= 3 and abs(rows.max() - 400) <= 3  # 3: the line's width


@pytest.mark.parametrize("size, width", [((60, 90), LEAST), ((1000, 3200), MOST), ((500, 700), 700)])
def test_small_photographs_are_enlarged_large_ones_reduced(size, width):
    picture = draw(np.ones((4, 4)), False, size)
    height = round(size[0] * width / size[1])
    assert picture.shape[1] == width and picture.dtype == np.uint8
    assert height + 40 < picture.shape[0] < height + 0.2 * width

"""Places on the 3×3 grid are named from the centroid of the mask."""

import numpy as np
import pytest

from iadgpt_jax.data.place import PLACES, cell, place_on_grid


@pytest.mark.parametrize("height,width", [(112, 112), (90, 60), (7, 11), (3, 3)])
def test_a_single_pixel_lies_in_the_third_its_centre_falls_into(height, width):
    names = [["top left", "top", "top right"], ["left", "center", "right"], ["bottom left", "bottom", "bottom right"]]
    for y in range(height):
        for x in range(width):
            mask = np.zeros((height, width), np.uint8)
            mask[y, x] = 1
            row = sum((y + 0.5) / height >= third for third in (1 / 3, 2 / 3))
            column = sum((x + 0.5) / width >= third for third in (1 / 3, 2 / 3))
            assert place_on_grid(mask) == names[row][column]


def test_the_centroid_decides_not_the_extent():
    mask = np.zeros((90, 90), np.uint8)
    mask[5:10, :] = 255  # a scratch right across the top
    assert place_on_grid(mask) == "top"
    mask[:] = 1
    assert place_on_grid(mask) == "center"


def test_a_defect_in_several_parts_is_where_most_of_it_is_not_in_the_empty_middle():
    mask = np.zeros((90, 90), np.uint8)
    mask[0:20, 0:20] = mask[70:90, 72:90] = 1
    assert place_on_grid(mask) == "top left"


def test_an_empty_mask_has_no_place():
    with pytest.raises(ValueError, match="empty"):
        place_on_grid(np.zeros((8, 8), np.uint8))


def test_cells_follow_the_names():
    assert [cell(place) for place in PLACES] == [(row, column) for row in range(3) for column in range(3)]
    with pytest.raises(ValueError, match="upper left"):
        cell("upper left")

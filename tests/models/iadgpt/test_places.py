"""Places of image tokens: a smooth function of row and column, added to what the tower sees, and to nothing else."""

from __future__ import annotations

import itertools
import math

import jax
import numpy as np
import pytest

from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.iadgpt.places import WAVES, waves
from iadgpt_jax.models.registry import init_params
from tests.small_iadgpt import BUDGET, QUICK, inspection, lively_params, small_config, small_encoder

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = small_config(places=True)


def test_waves_are_cosines_at_the_tokens_centres():
    """Two grids in one call, the smaller one padded: 12 tokens of 3 × 4, 4 of 2 × 2."""
    found = np.asarray(waves(np.array([[3, 4], [2, 2]]), 12))
    assert found.shape == (2, 12, WAVES**2 - 1)
    for image, (high, wide) in enumerate(((3, 4), (2, 2))):
        for row in range(high):
            for column in range(wide):
                y, x = (row + 0.5) / high, (column + 0.5) / wide
                pairs = itertools.product(range(WAVES), repeat=2)
                expected = [math.cos(math.pi * k * y) * math.cos(math.pi * n * x) for k, n in pairs if k or n]
                np.testing.assert_allclose(found[image, row * wide + column], expected, atol=1e-6)


def test_on_four_by_four_tokens_any_vectors_of_sixteen_places_can_be_learned():
    """But for one that all share: fifteen independent waves."""
    assert np.linalg.matrix_rank(np.asarray(waves(np.array([[4, 4]]), 16))[0]) == WAVES**2 - 1


def test_an_empty_slot_has_finite_places():
    assert np.isfinite(waves(np.zeros((1, 2), np.int32), 16)).all()


def test_they_are_added_to_image_tokens_and_begin_as_nothing():
    encoded = small_encoder()(inspection(0))
    shape = RowShape(slots=320, images=6, patches=BUDGET, maps=3, keyword_rows=8, targets=48, mask_side=16)
    rows = pack([encoded], 1, shape, CONFIG.vision).rows

    def tokens(config, params):
        see = jax.jit(
            lambda patches, grid: IADGPT(config).apply({"params": params}, patches, grid, method="encode_images")[0],
            compiler_options=QUICK,
        )
        return np.asarray(see(rows.patches, rows.grid))

    params = lively_params(CONFIG)
    plain = tokens(small_config(), {key: value for key, value in params.items() if key != "places"})
    added = np.asarray(waves(rows.grid.reshape(-1, 2), plain.shape[2])) @ params["places"]["kernel"]
    difference = tokens(CONFIG, params) - plain
    whole = rows.grid[0, :, 0] > 0
    np.testing.assert_allclose(difference[0, whole], added[whole], atol=1e-5)
    assert np.abs(added[whole]).max() > 0.1
    fresh = init_params(CONFIG, jax.random.key(0))
    assert not np.asarray(fresh["places"]["kernel"]).any()

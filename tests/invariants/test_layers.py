"""Scanned, grouped and rematerialised towers are plain Python loops over their layers.

Tolerance as derived in test_packing.py: the same float32 operations, compiled in other groupings.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.models.attention import sees
from iadgpt_jax.models.attention.dense import DenseImages, FlatRows
from iadgpt_jax.models.attention.plans import WholeRows
from iadgpt_jax.models.iadgpt.fusion import Fusion
from iadgpt_jax.models.iadgpt.losses import LossWeights
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.iadgpt.objective import AnswersAndMaps
from iadgpt_jax.models.layers import RMSNorm
from iadgpt_jax.models.qwen2_5_vl.language import DecoderLayer, LayerInput
from iadgpt_jax.models.qwen2_5_vl.rope import vision_angles
from iadgpt_jax.models.qwen2_5_vl.vision import IMAGE_MEAN, IMAGE_STD, Merger, VisionBlock, window_order
from iadgpt_jax.models.rows import visibility_of
from tests.small_iadgpt import BUDGET, QUICK, inspection, lively_params, small_config, small_encoder

# Three blocks a group: two window or plain ones, stacked by the scan, and the tapped one.
CONFIG = small_config(vision={"depth": 12, "full_blocks": (2, 5, 8, 11)}, language={"depth": 12})
MODEL = IADGPT(CONFIG)
PARAMS = lively_params(CONFIG, 2)
SHAPE = RowShape(slots=192, images=5, patches=BUDGET, maps=2, keyword_rows=8, targets=48, mask_side=16)
TOLERANCE = 5e-5


def leaf(tree, *index):
    return jax.tree.map(lambda x: x[index], tree)


@pytest.fixture(scope="module")
def rows():
    return pack([small_encoder()(inspection(3))], 1, SHAPE, CONFIG.vision).rows


def test_the_vision_tower_is_a_loop_over_blocks(rows):
    c, p = CONFIG.vision, PARAMS["vision"]

    def loop(patches, grid):
        pixels = patches.reshape(*patches.shape[:2], 3, -1) / 255.0
        pixels = (pixels - np.array(IMAGE_MEAN)[:, None]) / np.array(IMAGE_STD)[:, None]
        x = pixels.reshape(patches.shape).astype(jnp.float32) @ p["patch_embed"].sum(0)
        order = window_order(c, grid, BUDGET)
        angles = vision_angles(order.hw, c.width // c.heads)
        full = jnp.cos(angles), jnp.sin(angles), order.valid
        windows = [a.reshape(-1, 16, *a.shape[2:]) for a in full]
        full, windows = ((cos, sin, DenseImages(valid)) for cos, sin, valid in (full, windows))
        taps = []
        for depth in range(c.depth):
            group, inner = divmod(depth, 3)
            block = VisionBlock(c)
            if inner == 2:
                x = block.apply({"params": leaf(p["groups"]["full"]["block"], group)}, x, *full)
                taps.append(x)
            else:
                params = leaf(p["groups"]["window"]["block"], group, inner)
                x = block.apply({"params": params}, x.reshape(-1, 16, c.width), *windows).reshape(x.shape)
        x = Fusion(c.eps).apply({"params": p["fusion"]}, jnp.stack(taps))
        x = Merger(c).apply({"params": p["merger"]}, x)
        return jnp.take_along_axis(x, order.raster[..., None], axis=1)

    encode = jax.jit(
        lambda *r: MODEL.apply({"params": PARAMS}, *r, method=IADGPT.encode_images)[0], compiler_options=QUICK
    )
    ours = encode(rows.patches, rows.grid)[0]
    theirs = jax.jit(loop, compiler_options=QUICK)(rows.patches[0], rows.grid[0])
    used = rows.grid[0, :, 0] > 0
    np.testing.assert_allclose(ours[used], theirs[used], rtol=TOLERANCE, atol=TOLERANCE)


def test_the_decoder_is_a_loop_over_layers(rows):
    c, p = CONFIG.language, PARAMS["language"]

    def loop(rows):
        x, positions = MODEL.apply({"params": PARAMS}, rows, method=IADGPT.embed)
        cos, sin = MODEL.apply({"params": PARAMS}, positions, method=IADGPT.rotation)
        visibility = visibility_of(rows)
        inputs = LayerInput(cos, sin, WholeRows(FlatRows(sees(visibility, visibility))))
        for depth in range(c.depth):
            group, inner = divmod(depth, 3)
            params = leaf(p["groups"]["tapped"], group) if inner == 2 else leaf(p["groups"]["plain"], group, inner)
            x, _ = DecoderLayer(c).apply({"params": params}, x, inputs)
        return RMSNorm(c.eps).apply({"params": p["norm"]}, x)

    ours = jax.jit(lambda r: MODEL.apply({"params": PARAMS}, r).hidden, compiler_options=QUICK)(rows)
    theirs = jax.jit(loop, compiler_options=QUICK)(rows)
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.nightly  # of the whole model; by day test_remat.py shows it of either tower
def test_rematerialisation_changes_neither_loss_nor_gradients(rows):
    results = []
    for remat in ("none", "attention"):
        loss = AnswersAndMaps(IADGPT(CONFIG, remat=remat), None, LossWeights(), "logit")
        step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)
        results.append(step(PARAMS, rows))
    (((loss, _), gradient), ((other, _), other_gradient)) = results
    np.testing.assert_allclose(loss, other, rtol=1e-6)
    for (path, a), b in zip(jax.tree.leaves_with_path(gradient), jax.tree.leaves(other_gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-4 * np.abs(b).max(), err_msg=jax.tree_util.keystr(path))

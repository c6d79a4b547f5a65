"""Our model against transformers' Qwen2.5-VL in float32 on random weights: every part alone, then logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from iadgpt_jax.models.attention.dense import DenseImages, FlatRows
from iadgpt_jax.models.attention.plans import WholeRows
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.qwen2_5_vl import rope
from iadgpt_jax.models.qwen2_5_vl.language import DecoderLayer, LayerInput
from iadgpt_jax.models.qwen2_5_vl.vision import Merger, VisionBlock, window_order
from tests.models.qwen2_5_vl.qwen_pair import (
    Chat,
    draw_config,
    draw_image,
    draw_text,
    hf_inputs,
    hf_pixels,
    make_pair,
    rows_of,
    slot_budget,
    small_config,
    window_patches,
)

TOLERANCE = 3e-5  # float32 rounding through a few layers of values around 1
IMAGES = [(4, 4), (3, 5), (1, 1), (5, 2), (2, 7)]  # merged tokens; windows are 2×2, so edges are partial
BUDGET = (6, 8)  # every image above fits in the windows of this one

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def pair():
    return make_pair(small_config())


def close(ours, theirs, tolerance=TOLERANCE):
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=tolerance, atol=tolerance)


def leaf(tree, *index):
    """The parameters of one block out of a stacked tree."""
    return jax.tree.map(lambda x: x[index], tree)


def window_cu(grid_thw, pair):
    """transformers' window order and window ends: (index int64[tokens], cu_seqlens)."""
    from transformers.vision_utils import get_vision_window_index

    c = pair.config.vision
    return get_vision_window_index(grid_thw, c.merge, c.window, c.patch)


def test_window_order_is_transformers_order(pair):
    """Our window order lists the same tokens in the same order as transformers' window index, image by image."""
    c = pair.config.vision
    order = window_order(c, jnp.array(IMAGES), slot_budget(pair.config, *BUDGET))
    for image, (high, wide) in enumerate(IMAGES):
        index, _ = window_cu(torch.tensor([[1, high * 2, wide * 2]]), pair)
        valid = np.asarray(order.valid[image])
        units = np.asarray(order.hw[image])[valid].reshape(-1, 4, 2)[:, 0] // 2
        np.testing.assert_array_equal(units[:, 0] * wide + units[:, 1], index.numpy())
        assert np.asarray(order.token_valid[image]).sum() == high * wide


def test_rotary_angles(pair):
    c = pair.config
    hw = torch.tensor([[0, 0], [3, 1], [17, 40]])
    cos, sin = pair.visual.rotary_pos_emb(torch.zeros(1), hw)
    ours = rope.vision_angles(jnp.array(hw.numpy()), c.vision.width // c.vision.heads)
    close(jnp.tile(jnp.cos(ours), 2), cos)
    close(jnp.tile(jnp.sin(ours), 2), sin)
    positions = np.random.default_rng(0).integers(0, 500, (3, 2, 9))
    cos, sin = pair.torch_model.model.language_model.rotary_emb(torch.zeros(1), torch.tensor(positions))
    language = c.language
    ours = rope.mrope_angles(jnp.array(positions), language.head_width, language.rope_theta, language.mrope_section)
    close(jnp.tile(jnp.cos(ours), 2), cos, 1e-4)  # angles up to 500 carry their own rounding
    close(jnp.tile(jnp.sin(ours), 2), sin, 1e-4)


@pytest.mark.parametrize("full", [False, True], ids=["window", "full"])
def test_vision_block(pair, full):
    """One block over several images with partial windows, their slots padded to one budget."""
    c, rng = pair.config.vision, np.random.default_rng(1)
    budget = slot_budget(pair.config, *BUDGET)
    order = window_order(c, jnp.array(IMAGES), budget)
    x = rng.normal(size=(len(IMAGES), budget, c.width)).astype(np.float32)
    angles = rope.vision_angles(order.hw, c.width // c.heads)
    cos, sin, valid, sequences = jnp.cos(angles), jnp.sin(angles), order.valid, x
    if not full:
        per_window = c.window_units**2 * c.merge**2
        cos, sin, valid, sequences = (a.reshape(-1, per_window, *a.shape[2:]) for a in (cos, sin, valid, x))
    groups = pair.params["vision"]["groups"]
    params = leaf(groups["full"]["block"], 2) if full else leaf(groups["window"]["block"], 2, 0)
    ours = VisionBlock(c).apply({"params": params}, sequences, cos, sin, DenseImages(valid)).reshape(x.shape)

    for image, (high, wide) in enumerate(IMAGES):
        grid = torch.tensor([[1, high * 2, wide * 2]])
        valid = np.asarray(order.valid[image])
        _, windows = window_cu(grid, pair)
        whole = torch.tensor([0, high * wide * 4], dtype=torch.int32)
        cos, sin = pair.visual.rotary_pos_emb(torch.zeros(1), torch.tensor(np.asarray(order.hw[image])[valid]))
        theirs = pair.visual.blocks[5 if full else 4](
            torch.tensor(x[image][valid]), cu_seqlens=whole if full else windows, position_embeddings=(cos, sin)
        )
        close(np.asarray(ours[image])[valid], theirs)


def test_merger(pair):
    x = np.random.default_rng(2).normal(size=(3, 24, pair.config.vision.width)).astype(np.float32)
    ours = Merger(pair.config.vision).apply({"params": pair.params["vision"]["merger"]}, x)
    close(ours.reshape(-1, ours.shape[-1]), pair.visual.merger(torch.tensor(x.reshape(-1, x.shape[-1]))))


def vit_parity(pair, sizes, budget, seed):
    rng = np.random.default_rng(seed)
    images = [draw_image(rng, pair.config, *size) for size in sizes]
    patches = np.stack([window_patches(image, pair.config, budget) for image in images])
    encode = jax.jit(lambda params, *inputs: pair.model.apply({"params": params}, *inputs, method=IADGPT.encode_images))
    ours, valid = encode(pair.params, patches[None], np.array([sizes], np.int32))
    with torch.no_grad():
        pixels, grid = hf_pixels(images, pair.config)
        theirs = pair.visual(pixels, grid).pooler_output.split([high * wide for high, wide in sizes])
    for image in range(len(images)):
        close(np.asarray(ours[0, image])[np.asarray(valid[0, image])], theirs[image])


def test_patch_embedding(pair):
    """With the blocks' outputs silenced the tower is patch embedding and merger alone."""
    silent = make_pair(small_config())
    with torch.no_grad():
        for block in silent.visual.blocks:
            for projection in (block.attn.proj, block.mlp.down_proj):
                projection.weight.zero_()
                projection.bias.zero_()
    for kind in ("window", "full"):
        block = silent.params["vision"]["groups"][kind]["block"]
        for projection in (block["attention"]["out"], block["mlp"]["down"]):
            projection["kernel"][:] = 0
            projection["bias"][:] = 0
    vit_parity(silent, IMAGES, slot_budget(silent.config, *BUDGET), seed=3)


def test_vision_tower(pair):
    vit_parity(pair, IMAGES, slot_budget(pair.config, *BUDGET), seed=4)


def test_decoder_layer(pair):
    c, rng = pair.config.language, np.random.default_rng(5)
    x = rng.normal(size=(2, 11, c.width)).astype(np.float32)
    positions = rng.integers(0, 60, (3, 2, 11))
    angles = rope.mrope_angles(jnp.array(positions), c.head_width, c.rope_theta, c.mrope_section)
    causal = np.tril(np.ones((11, 11), bool))
    inputs = LayerInput(jnp.cos(angles), jnp.sin(angles), WholeRows(FlatRows(jnp.tile(causal, (2, 1, 1)))))
    params = leaf(pair.params["language"]["groups"]["tapped"], 1)
    ours, _ = DecoderLayer(c).apply({"params": params}, x, inputs)
    language = pair.torch_model.model.language_model
    theirs = language.layers[3](
        torch.tensor(x),
        attention_mask=torch.where(torch.tensor(causal), 0.0, -1e30)[None, None],
        position_embeddings=language.rotary_emb(torch.zeros(1), torch.tensor(positions)),
    )
    close(ours, theirs)


def chats(config, seed):
    """Two rows of two chats: images in any turn, several per chat, none in one."""
    rng = np.random.default_rng(seed)

    def text(length):
        return draw_text(rng, config, length)

    def image(index):
        return draw_image(rng, config, *IMAGES[index % len(IMAGES)])

    return [
        [Chat([text(3), image(seed), text(5), image(seed + 1), text(4)]), Chat([text(9)])],
        [Chat([image(seed + 2), text(6)]), Chat([text(2), image(seed + 3), image(seed + 4), text(7)])],
    ]


SLOTS, IMAGE_SLOTS = 96, 3


def test_mrope_positions_are_get_rope_index(pair):
    rows, spans = rows_of(chats(pair.config, 0), pair.config, SLOTS, IMAGE_SLOTS, slot_budget(pair.config, *BUDGET))
    embed = jax.jit(lambda params, rows: pair.model.apply({"params": params}, rows, method=IADGPT.embed))
    _, positions = embed(pair.params, rows)
    for row, row_chats in enumerate(chats(pair.config, 0)):
        for span, chat in zip(spans[row], row_chats, strict=True):
            inputs = hf_inputs(chat, pair.config)
            inputs.pop("pixel_values", None)
            theirs, _ = pair.torch_model.model.get_rope_index(**inputs)
            np.testing.assert_array_equal(np.asarray(positions[:, row, span]), theirs[:, 0].numpy())


def logits_parity(pair, seed):
    """Packed chats against transformers alone: |Δ| ≤ 1e-4, KL ≤ 1e-6, the same top-1 everywhere."""
    batch = chats(pair.config, seed)
    rows, spans = rows_of(batch, pair.config, SLOTS, IMAGE_SLOTS, slot_budget(pair.config, *BUDGET))
    ours = pair.logits(rows)
    for row, row_chats in enumerate(batch):
        for span, chat in zip(spans[row], row_chats, strict=True):
            with torch.no_grad():
                theirs = pair.torch_model(**hf_inputs(chat, pair.config)).logits[0]
            close(ours[row, span], theirs, 1e-4)
            log_ours = torch.log_softmax(torch.tensor(ours[row, span]), -1).double()
            log_theirs = torch.log_softmax(theirs, -1).double()
            kl = (log_theirs.exp() * (log_theirs - log_ours)).sum(-1)
            assert kl.max() <= 1e-6
            assert (log_ours.argmax(-1) == log_theirs.argmax(-1)).all()


def test_logits(pair):
    for seed in range(3):
        logits_parity(pair, seed)


def test_one_compilation_serves_every_image_size(pair):
    """Different chats, sizes and counts of images in the same budget reuse the compiled function."""
    logits_parity(pair, 3)
    assert pair._logits._cache_size() == 1


DRAWS = [pytest.param(draw, marks=[pytest.mark.nightly] if draw >= 6 else []) for draw in range(30)]


@pytest.mark.parametrize("draw", DRAWS)
def test_logits_of_random_configurations(draw):
    """A ladder of thirty, the first six by day; two sets of images and text each, for which one program serves."""
    config_pair = make_pair(draw_config(np.random.default_rng(draw)), draw)
    for seed in range(2):
        logits_parity(config_pair, draw + seed)

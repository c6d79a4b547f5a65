"""Token compression (paper eq. 7–9): which tokens of the references stay, how many, and r = 1 is no compression."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.models.iadgpt import model as iadgpt
from iadgpt_jax.models.iadgpt.compression import kept_tokens
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.registry import preset
from tests.small_iadgpt import BUDGET, QUICK, draw_image, inspection, lively_params, small_config, small_encoder

SHAPE = RowShape(slots=320, images=6, patches=BUDGET, maps=3, keyword_rows=8, targets=32, mask_side=16)


def naive_kept(features, counts, anchor, keep):
    """For each image, the raster-ordered indices of its `keep` tokens least like their best match in the anchor."""
    kept = []
    for image, count in enumerate(counts):
        if keep[image] == count:
            kept.append(list(range(count)))
            continue
        nearest = []
        for token in range(count):
            best = -np.inf
            for other in range(counts[anchor[image]]):
                a, b = np.float64(features[image, token]), np.float64(features[anchor[image], other])
                best = max(best, a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
            nearest.append(best)
        kept.append(sorted(np.argsort(nearest, kind="stable")[: keep[image]].tolist()))
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_kept_tokens_are_those_of_a_plain_loop(seed):
    """Images of different sizes in one budget of 12 tokens, an anchor that is not the first slot, an empty slot."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(5, 12, 6)).astype(np.float32)
    counts = [12, 9, 12, int(rng.integers(2, 12)), 0]
    valid = np.arange(12) < np.array(counts)[:, None]
    anchor = np.array([0, 1, 1, 0, 0])
    keep = np.array([12, 9, 5, max(1, counts[3] // 2), 0])
    ours = np.asarray(kept_tokens(jnp.asarray(features), valid, anchor, keep))
    for image, expected in enumerate(naive_kept(features, counts, anchor, keep)):
        assert ours[image, : keep[image]].tolist() == expected


@pytest.mark.parametrize(("ratio", "saving"), [(0.4, 45), (0.2, 60), (0.1, 67.5), (0.05, 71.25), (1.0, 0)])
def test_four_shots_save_three_quarters_of_one_minus_r(ratio, saving):
    """Of 100 tokens per reference r·100 stay in three of four; the first reference and the query keep all of theirs."""
    rng = np.random.default_rng(0)
    shared = tuple(draw_image(rng, 10, 10) for _ in range(4))
    block = Block((Turn("Is it normal?", "Yes"),), (draw_image(rng, 10, 10),), sees=4)
    encoded = Encoder(preset("tiny"), tiny_tokenizer())(Instance("inspect", (block,), shared, ratio))
    counts = [image.keep for image in encoded.images]
    assert counts == [100, *[round(100 * ratio)] * 3, 100]
    assert counts[:4] == np.bincount([i for i in encoded.shared.image if i >= 0]).tolist()
    assert 1 - sum(counts[:4]) / 400 == pytest.approx(saving / 100, abs=1e-12)


@pytest.mark.parametrize("ratio", [0.01, 0.2, 0.5, 0.77])
def test_kept_counts_are_rounded_and_never_zero(ratio):
    encoded = small_encoder()(inspection(0, ratio=ratio))
    assert encoded.images[1].keep == max(1, round(ratio * 16))


def test_ratio_1_is_no_compression_bit_for_bit(monkeypatch):
    """The whole forward pass against one whose selection is replaced by the identity."""
    config = small_encoder().config
    params, rows = lively_params(config), pack([small_encoder()(inspection(1))], 1, SHAPE, config.vision).rows

    def run():
        return jax.jit(lambda p, r: IADGPT(config).apply({"params": p}, r), compiler_options=QUICK)(params, rows)

    ours = run()
    monkeypatch.setattr(
        iadgpt, "kept_tokens", lambda features, *_: jnp.broadcast_to(jnp.arange(16), features.shape[:2])
    )
    jax.tree.map(np.testing.assert_array_equal, ours, run())


@pytest.mark.parametrize("positions", ["qwen", "aligned"])
def test_kept_tokens_keep_features_and_positions(positions):
    """The compressed reference's slots hold the embeddings and positions those tokens have without compression, the
    other images theirs, and all text after it its own."""
    config = small_config(positions=positions)
    encoder, params = Encoder(config, tiny_tokenizer()), lively_params(config)
    embed = jax.jit(lambda p, r: IADGPT(config).apply({"params": p}, r, method=IADGPT.embed), compiler_options=QUICK)
    encode = jax.jit(
        lambda p, *r: IADGPT(config).apply({"params": p}, *r, method=IADGPT.encode_images), compiler_options=QUICK
    )
    laid = {}
    for ratio in (1.0, 0.4):
        encoded = encoder(inspection(2, ratio=ratio, shots=(2,), words=False))
        rows = pack([encoded], 1, SHAPE, config.vision).rows
        x, where = embed(params, rows)
        used = rows.segment[0] > 0
        laid[ratio] = np.asarray(x)[0][used], np.asarray(where)[:, 0][:, used], rows.image_slot[0][used]
    whole, short = laid[1.0], laid[0.4]
    tokens, _ = encode(params, rows.patches, rows.grid)
    (stays,) = naive_kept(np.asarray(tokens[0])[:2], [16, 16], [0, 0], [16, 6])[1:]
    at = np.flatnonzero(whole[2] == 1)  # slots of the second reference, uncompressed
    picked = np.concatenate([np.arange(at[0]), at[stays], np.arange(at[-1] + 1, len(whole[2]))])
    np.testing.assert_array_equal(short[1], whole[1][:, picked])
    np.testing.assert_array_equal(short[0], whole[0][picked])
    assert len(short[2]) == len(whole[2]) - 10

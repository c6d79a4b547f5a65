"""Model FLOPs by formula are those counted in the traced step of a small model, part by part where they can be told."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.data.detection_prompt import AnswerTokens
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.flops import peak_flops, query_flops, score_flops, step_flops, train_parts, visible_pairs
from iadgpt_jax.infer.prefix import lay_out, prefill
from iadgpt_jax.infer.question import Questions
from iadgpt_jax.infer.score_rows import make_score_rows
from iadgpt_jax.infer.scorer import encode_images, score_queries
from iadgpt_jax.models.attention import Lanes, Visibility, sees
from iadgpt_jax.models.iadgpt.losses import LossWeights
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.iadgpt.objective import AnswersAndMaps
from iadgpt_jax.models.registry import init_params, preset
from iadgpt_jax.train.optimizer import make_optimizer
from iadgpt_jax.train.state import create
from iadgpt_jax.train.step import make_train_step
from tests.small_iadgpt import BUDGET, SIDE, small_config
from tests.traced_flops import traced_flops

CONFIG = small_config(vision={"full_blocks": (2, 5, 8, 11), "depth": 12}, language={"depth": 8})
FLAT = RowShape(slots=160, images=4, patches=BUDGET, maps=2, keyword_rows=8, targets=24, mask_side=16)
LANED = dataclasses.replace(FLAT, slots=96 + 2 * 32, lanes=Lanes(96, ((2, 32),)))
ROWS = 2
STAGE_3 = r"^vision/(groups|patch_embed|block_)"


def blank(shape):
    """Rows of this shape that hold nothing: only their sizes matter to a trace."""
    return pack([], ROWS, shape, CONFIG.vision).rows


def counted(shape, frozen: str, map_space: str) -> float:
    optimizer = make_optimizer(lambda step: 1e-3, b1=0.9, b2=0.95, weight_decay=0.0, clip=1.0)
    state = jax.eval_shape(lambda: create(init_params(CONFIG, jax.random.key(0)), frozen, optimizer))
    step = make_train_step(AnswersAndMaps(IADGPT(CONFIG), shape.lanes, LossWeights(), map_space), optimizer)
    return traced_flops(step, state, blank(shape))


def computed_pairs(shape) -> float:
    """What the dense and laned attention of models/attention.py form, masked or not."""
    if shape.lanes is None:
        return shape.slots**2
    p = shape.lanes.prefix
    return p * p + sum(count * lane * (p + lane) for count, lane in shape.lanes.groups)


FROZEN = ["", STAGE_3, "^vision", "^language/(groups|head)"]


@pytest.mark.parametrize(
    ("shape", "frozen"),
    [*((FLAT, frozen) for frozen in FROZEN), (LANED, STAGE_3),
     *(pytest.param(LANED, frozen, marks=pytest.mark.nightly) for frozen in FROZEN if frozen != STAGE_3)],
)  # fmt: skip
def test_a_training_step_counts_as_the_formula_says(shape, frozen):
    """Within 1 %: the trace also pools the kind of maps nothing reads, and lacks nothing."""
    expected = step_flops(CONFIG, shape, ROWS, frozen=frozen, pairs=computed_pairs(shape))
    assert counted(shape, frozen, "probability") == pytest.approx(expected, rel=0.01)


def test_without_maps_it_is_exact():
    expected = step_flops(CONFIG, FLAT, ROWS, maps=False, pairs=computed_pairs(FLAT))
    assert counted(FLAT, "", "none") == expected


def test_scoring_counts_as_the_formula_says():
    params = jax.eval_shape(lambda: init_params(CONFIG, jax.random.key(0)))
    score = make_score_rows(IADGPT(CONFIG), LANED.lanes, AnswerTokens(1, 2))
    expected = score_flops(CONFIG, LANED, ROWS, pairs=computed_pairs(LANED))
    assert traced_flops(score, params, blank(LANED)) == pytest.approx(expected, rel=0.01)


def test_scoring_against_references_read_before_counts_as_the_formula_says():
    """The query's vision and lane, and its attention to the prefix, of which the trace counts every pair."""
    model, encoder = IADGPT(CONFIG), Encoder(CONFIG, tiny_tokenizer())
    params = jax.eval_shape(lambda: init_params(CONFIG, jax.random.key(0)))
    blank = np.zeros((SIDE * 28, SIDE * 28, 3), np.uint8)
    laid = lay_out([blank] * 3, 1.0, encoder)
    cache = jax.eval_shape(lambda p: prefill(model, p, laid.rows), params)
    patches, question = Questions(encoder)([blank] * 2, 2)

    def score(params, cache):
        tokens = encode_images(model, params, patches, question.grid)
        at = laid.limits[-1:], laid.starts[-1:]
        return score_queries(model, AnswerTokens(1, 2), "probability", params, cache, *at, tokens, question)

    lane = dataclasses.replace(
        FLAT, slots=question.tokens.shape[1], images=1, maps=1, keyword_rows=question.map_rows.shape[1], targets=1
    )
    slots, prefix = lane.slots, int(laid.limits[-1])
    expected = query_flops(CONFIG, lane, 2, prefix, pairs=slots * (slots + prefix))
    assert traced_flops(score, params, cache) == pytest.approx(expected, rel=0.01)
    assert query_flops(CONFIG, lane, 2, prefix) < expected, "of its own slots a query sees half"


def test_rematerialisation_is_no_progress():
    """A step that recomputes its layers is traced with about a forward pass more; the formula stays."""
    optimizer = make_optimizer(lambda step: 1e-3, b1=0.9, b2=0.95, weight_decay=0.0, clip=1.0)
    state = jax.eval_shape(lambda: create(init_params(CONFIG, jax.random.key(0)), "", optimizer))
    step = make_train_step(AnswersAndMaps(IADGPT(CONFIG, jnp.float32, "full"), None, LossWeights(), "none"), optimizer)
    ratio = traced_flops(step, state, blank(FLAT)) / step_flops(CONFIG, FLAT, ROWS, maps=False, pairs=FLAT.slots**2)
    assert 1.2 < ratio < 1.34


@pytest.mark.parametrize("shape", [FLAT, LANED], ids=["flat", "laned"])
def test_visible_pairs_are_those_of_the_mask(shape):
    """One instance that fills its row: a shared part in the prefix and a block in every lane."""
    order = jnp.arange(shape.slots)[None]
    block, limit = jnp.zeros_like(order), jnp.full_like(order, shape.slots)
    if shape.lanes:
        for number, (start, end) in enumerate(shape.lanes.runs()):
            block = block.at[:, start:end].set(number)
        limit = jnp.full_like(order, shape.lanes.prefix)
    seen = Visibility(jnp.ones_like(order), block, limit, order)
    assert float(sees(seen, seen).sum()) == visible_pairs(shape)


def test_the_7b_in_known_numbers():
    """A decoder token of the 7B costs 2 · 6.53 G multiply-adds in its layers; the ViT of a 448-pixel image 1.3 T."""
    shape = RowShape(slots=4096, images=8, patches=1024, maps=6, keyword_rows=12, targets=192, mask_side=224)
    parts = train_parts(preset("7b"), shape, 1, STAGE_3)
    assert parts["decoder_layers"].forward / 4096 == pytest.approx(2 * 6.525e9, rel=1e-3)
    blocks = parts["vision_blocks"].forward + parts["vision_full_attention"].forward
    assert blocks / 8 == pytest.approx(1024 * 2 * 32 * (4 * 1280**2 + 3 * 1280 * 3420) + 4 * 4 * 1280 * 1024**2)
    assert parts["vision_blocks"].total == parts["vision_blocks"].forward, "a frozen tower only looks"
    assert parts["decoder_layers"].total == 3 * parts["decoder_layers"].forward
    assert parts["merger"].total == 3 * parts["merger"].forward, "its gates and itself train"


@pytest.mark.parametrize(
    "kind, peak",
    [("TPU v5 lite", 197e12), ("TPU v5", 459e12), ("TPU v5p", 459e12), ("TPU v6 lite", 918e12),
     ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H200", 989e12), ("NVIDIA A100-SXM4-80GB", 312e12), ("cpu", None)],
)  # fmt: skip
def test_peak_rates_by_device_kind(kind, peak):
    assert peak_flops(kind) == peak

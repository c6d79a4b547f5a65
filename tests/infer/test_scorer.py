"""Scoring against cached references gives the margins and maps of whole prompts, and does less."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest

from iadgpt_jax.data.detection_prompt import AnswerTokens
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.prefetch import prefetch
from iadgpt_jax.infer.score_rows import make_score_rows
from iadgpt_jax.infer.scorer import Scorer
from iadgpt_jax.models.attention import choose
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.registry import logical_axes
from iadgpt_jax.models.rows import Rows
from iadgpt_jax.sharding import ShardingRules, make_mesh, tree_shardings
from tests.small_iadgpt import BUDGET, SIDE, draw_image, lively_params, small_config

POSITIONS = ("qwen", "aligned")
SIZES = ((SIDE, SIDE), (3, 3), (2, 3))  # merged tokens of a query: full windows, partial ones, not square
ROW = RowShape(slots=160, images=6, patches=BUDGET, maps=1, keyword_rows=8, targets=1, mask_side=1)
CLOSE = dict(rtol=0, atol=1e-5)  # rounding alone: sums run in another order than in one long row

pytestmark = pytest.mark.usefixtures("quick_compilation")


def make_scorer(positions: str = "qwen", **options) -> Scorer:
    config = small_config(positions=positions, places=positions == "aligned")
    return Scorer(IADGPT(config), lively_params(config), Encoder(config, tiny_tokenizer()), **options)


@pytest.fixture(scope="module", params=POSITIONS)
def scorer(request) -> Scorer:
    return make_scorer(request.param)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [draw_image(rng) for _ in range(4)], [draw_image(rng, *size) for size in SIZES]


@functools.cache
def plain_score(model: IADGPT, answers: AnswerTokens, space: str):
    return jax.jit(make_score_rows(model, None, answers, space))


def filled(rows: Rows) -> Rows:
    """Empty rows behind, so that every number of prompts is one shape."""
    return jax.tree.map(lambda x: np.pad(x, [(0, len(SIZES) - len(x))] + [(0, 0)] * (x.ndim - 1)), rows)


def whole_prompts(scorer: Scorer, references, queries, ratio: float, space: str = "probability"):
    """Scores [Q] and maps [Q][h, w]: every query in a prompt and row of its own, references and all."""
    asked = Block(sees=len(references), detection=Detection())
    encodeds = [
        scorer.encoder(Instance("inspect", (dataclasses.replace(asked, images=(q,)),), tuple(references), ratio))
        for q in queries
    ]
    packed = pack(encodeds, len(encodeds), ROW, scorer.model.config.vision)  # too short for two
    assert sorted(row for row, _, _ in packed.where) == list(range(len(encodeds)))
    margins, maps = plain_score(scorer.model, scorer.answers, space)(scorer.params, filled(packed.rows))
    results = [(margins[row, at], maps[row, at]) for row, at, _ in packed.where]
    grids = [encoded.images[-1].grid for encoded in encodeds]
    return [s[0] for s, _ in results], [
        m[0, : h * w].reshape(h, w) for (_, m), (h, w) in zip(results, grids, strict=True)
    ]


def assert_same(margins, maps, wanted):
    np.testing.assert_allclose(margins, wanted[0], **CLOSE)
    for flat, map_ in zip(maps, wanted[1], strict=True):
        np.testing.assert_allclose(flat[: map_.size].reshape(map_.shape), map_, **CLOSE)


@pytest.mark.parametrize("ratio", [1.0, 0.4])
def test_cached_scores_are_those_of_whole_prompts(scorer, pictures, ratio):
    """One prefix of four references serves 0, 1, 2 and 4 shots, and queries of three sizes in one batch."""
    references, queries = pictures
    shots = (0, 1, 2, 4)
    margins, maps = scorer.score(scorer.prefill(references, ratio), queries, shots)
    for column, k in enumerate(shots):
        assert_same(margins[:, column], maps[:, column], whole_prompts(scorer, references[:k], queries, ratio))
    assert np.ptp(margins, axis=1).min() > 1e-3, "the references matter"


@pytest.mark.parametrize("count", [0, 3])
def test_any_number_of_references_and_room_to_spare(scorer, pictures, count):
    """Three references take a prefix with room for three, none is the header alone; empty places change nothing."""
    references, queries = pictures[0][:count], pictures[1][1:]
    prefix = scorer.prefill(references)
    margins, maps = scorer.score(prefix, scorer.encode_images(queries, room=4))
    assert margins.shape == (4, 1) and np.isfinite(margins).all() and np.isfinite(maps).all()
    assert_same(margins[:2, 0], maps[:2, 0], whole_prompts(scorer, references, queries, 1.0))


def test_a_padded_prefix_is_the_bare_one(pictures):
    """Five references fill a prefix for six: one compilation serves both, and what is empty is not seen."""
    scorer = make_scorer()
    references = [*pictures[0], pictures[0][0][::-1]]
    prefix = scorer.prefill(references, 0.4)
    prefill = scorer._run.prefill
    before = prefill._cache_size()
    six = scorer.prefill([*references, pictures[0][1][::-1]], 0.4)
    assert prefill._cache_size() == before and six.limits[5] == prefix.limits[5]
    margins, maps = scorer.score(prefix, pictures[1][:1])
    assert_same(margins[:, 0], maps[:, 0], whole_prompts(scorer, references, pictures[1][:1], 0.4))


def test_maps_in_the_form_they_were_trained_in(pictures):
    scorer = make_scorer(map_space="logit")
    margins, maps = scorer.score(scorer.prefill(pictures[0][:1]), pictures[1])
    assert_same(margins[:, 0], maps[:, 0], whole_prompts(scorer, pictures[0][:1], pictures[1], 1.0, "logit"))


def test_compression_shortens_the_prefix(scorer, pictures):
    """Of three further references of 16 tokens each 40 %, 6, stay: 30 slots less."""
    whole, kept = (scorer.prefill(pictures[0], ratio) for ratio in (1.0, 0.4))
    assert whole.cache[1].keys.shape[2] == whole.limits[-1]
    assert kept.cache[1].keys.shape[2] == whole.limits[-1] - 3 * (16 - 6)
    np.testing.assert_array_equal(kept.starts, whole.starts)


def test_the_second_batch_compiles_nothing_and_reads_no_reference(scorer, pictures):
    """Other pixels, another category, and fewer queries in the same room: no new compilation of either half."""
    references, queries = pictures
    queries = [queries[0]] * 3
    prefix = scorer.prefill(references)
    scorer.score(prefix, scorer.encode_images(queries, room=4), (1, 2))
    before = [function._cache_size() for function in scorer._run]
    other = scorer.prefill(references[::-1])
    scorer.score(other, scorer.encode_images([queries[0][::-1]], room=4), (2, 4))
    assert [function._cache_size() for function in scorer._run] == before


@pytest.mark.parametrize(
    "sizes", [*(pytest.param(sizes, marks=pytest.mark.nightly) for sizes in ((4, 1, 1), (2, 4, 1))), (1, 2, 2)], ids=str
)
def test_on_a_mesh_scores_are_those_of_one_device(pictures, sizes):
    """Queries split, parameters split, references everywhere; and a second batch compiles nothing."""
    references, queries = pictures
    alone = make_scorer()
    expected = alone.score(alone.prefill(references, 0.4), queries, (0, 1, 4))
    mesh, rules = make_mesh(*sizes, jax.devices()[: int(np.prod(sizes))]), ShardingRules()
    config = small_config()
    shardings = tree_shardings(mesh, rules, logical_axes(config), alone.params)
    model = IADGPT(config, kernels=choose("auto", mesh, rules, np.float32))
    scorer = Scorer(model, jax.device_put(alone.params, shardings), alone.encoder)
    devices = sizes[0] * sizes[1]
    room = scorer.room(len(queries))
    assert room == devices * -(-len(queries) // devices)
    for order in (1, -1):
        before = [function._cache_size() for function in scorer._run]
        images = scorer.encode_images(queries[::order])
        margins, maps = scorer.score(scorer.prefill(references, 0.4), images, (0, 1, 4))
        assert margins.shape == (room, 3) and len(images.tokens.sharding.device_set) == mesh.size
        assert margins.addressable_shards[0].data.shape == (room // devices, 3), "split by queries"
        np.testing.assert_allclose(margins[: len(queries)][::order], expected[0], **CLOSE)
        np.testing.assert_allclose(maps[: len(queries)][::order], expected[1], **CLOSE)
    assert [function._cache_size() for function in scorer._run] == before


def test_more_shots_than_references_are_refused(scorer, pictures):
    with pytest.raises(ValueError, match="3 shots asked of a prefix of 2 references"):
        scorer.score(scorer.prefill(pictures[0][:2]), pictures[1], (1, 3))
    config = small_config(taps=False)
    with pytest.raises(InputError, match="no anomaly maps"):
        Scorer(IADGPT(config), {}, Encoder(config, tiny_tokenizer()))


def test_prefetched_work_keeps_its_order_its_distance_and_its_errors():
    started = []

    def work(item):
        started.append(item)
        if item == 7:
            raise KeyError("seven")
        return item * item

    results = prefetch(work, range(9), ahead=2)
    assert next(results) == 0 and len(started) <= 3
    assert [next(results) for _ in range(6)] == [1, 4, 9, 16, 25, 36]
    with pytest.raises(KeyError, match="seven"):
        list(results)

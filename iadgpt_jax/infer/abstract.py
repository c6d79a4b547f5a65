"""The scoring step of a configuration in the abstract, to be compiled without devices: a batch of queries against
references that were read before, as infer/scorer.py runs it.

Suffixes: Q queries, P prefix slots, K KV heads, D head width.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from iadgpt_jax.data.detection_prompt import AnswerTokens
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.pack import RowShape
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.flops import query_flops
from iadgpt_jax.infer.prefix import lay_out, prefill
from iadgpt_jax.infer.question import Question, Questions
from iadgpt_jax.infer.scorer import encode_images, on_all, score_queries
from iadgpt_jax.models.attention import choose
from iadgpt_jax.models.protocols import ModelConfig
from iadgpt_jax.models.registry import float_dtype, init_params, logical_axes, make_module
from iadgpt_jax.sharding import ShardingRules, abstract_arrays, parts, replicated, rows_sharding, tree_shardings
from iadgpt_jax.tpu_options import compiler_options


class Scoring(NamedTuple):
    """function(*arguments), in the abstract; a lane's shape; queries on all devices; slots of the references; model
    FLOPs of the batch."""

    function: jax.stages.Wrapped
    arguments: tuple[Any, ...]
    shape: RowShape
    queries: int
    prefix: int
    model_flops: float


def build_scoring(
    config, model_config: ModelConfig, mesh: Mesh, rules: ShardingRules, tokenizer: Tokenizer, shots: int, each: int
) -> Scoring:
    """`each` queries on every device against `shots` references, of config.image_side pixels and in the tokenizer's
    words.

    Raises:
      InputError: fewer than one of either.
    """
    if shots < 1 or each < 1:
        raise InputError(f"--shots={shots} --queries={each}: score at least one query against one reference")
    count = each * parts(mesh, rules.batch)
    model_config = dataclasses.replace(model_config, tokens=tokenizer.special)
    dtype = float_dtype("config.dtype", config.dtype)
    model = make_module(
        model_config, dtype, kernels=choose(config.attention, mesh, rules, dtype), unroll=config.scan_unroll
    )
    axes = logical_axes(model_config)
    params = jax.eval_shape(lambda: init_params(model_config, jax.random.key(0)))
    params = abstract_arrays(params, tree_shardings(mesh, rules, axes, params), dtype)

    # ---- References, already read: what every device holds of them ----
    encoder = Encoder(model_config, tokenizer)
    blank = np.zeros((config.image_side, config.image_side, 3), np.uint8)
    laid = lay_out([blank] * shots, 1.0, encoder)
    cache = jax.eval_shape(lambda p, rows: prefill(make_module(model_config, dtype), p, rows), params, laid.rows)
    cache = abstract_arrays(cache, on_all(cache, mesh, rules))

    # ---- Queries, split over the devices ----
    patches, question = Questions(encoder)([blank], 1)
    rows = rows_sharding(mesh, rules)
    queries = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype, sharding=rows), (patches, question)
    )
    mark = jax.ShapeDtypeStruct((1,), np.int32, sharding=replicated(mesh))

    space = "probability" if config.map_space == "none" else config.map_space

    def score(params, cache, limits, starts, patches, question: Question):
        tokens = encode_images(model, params, patches, question.grid)
        return score_queries(model, AnswerTokens(0, 1), space, params, cache, limits, starts, tokens, question)

    function = jax.jit(score, out_shardings=rows, compiler_options=compiler_options(mesh))
    lane = RowShape(
        slots=question.tokens.shape[1], images=1, patches=patches.shape[1], maps=1,
        keyword_rows=question.map_rows.shape[1], targets=1, mask_side=1,
    )  # fmt: skip
    prefix = int(laid.limits[-1])
    needed = query_flops(model_config, lane, count, prefix)
    return Scoring(function, (params, cache, mark, mark, *queries), lane, count, prefix, needed)

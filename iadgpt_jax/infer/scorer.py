"""Few-shot scoring that reads the references once: margins and maps of queries against a cached prefix.

    scorer = Scorer(model, params, encoder)
    prefix = scorer.prefill(references)                     # once per set of references, for all shot counts up to it
    images = scorer.encode_images(queries)                  # the vision tower, once per query
    margins, maps = scorer.score(prefix, images, shots=(1, 2, 4))

Numbers are those of whole prompts. Nothing waits for the device: results are arrays to come, so a caller who fetches
them late keeps it busy. Each size of references, and of query batches, compiles once.

On a mesh (that of the model's kernels) parameters lie as they were loaded, queries are split over the devices, and
every device has the references.

Suffixes: Q queries of a batch, K shot counts, C slots of a lane, N merged tokens of an image, E width.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from iadgpt_jax.data.detection_prompt import AnswerTokens
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.margin import margin_of
from iadgpt_jax.infer.prefix import Prefix, PrefixRows, lay_out, prefill
from iadgpt_jax.infer.question import Question, Questions
from iadgpt_jax.models.protocols import Model
from iadgpt_jax.sharding import ShardingRules, parts, replicated, rows_sharding
from iadgpt_jax.tpu_options import compiler_options


@dataclass(frozen=True)
class QueryImages:
    """A batch of queries, count of them: question and tokens [room, N, E] of their images lead with `room` places."""

    question: Question
    tokens: jax.Array
    count: int


class Scorer:
    """Scores queries of one model, asked with its encoder's detection prompt. map_space: the form maps are read in, as
    in `infer.score_rows.make_score_rows`."""

    def __init__(self, model: Model, params: dict, encoder: Encoder, *, map_space: str = "probability"):
        if not model.config.taps:
            raise InputError(f"model {model.config.name!r} carries no anomaly maps (taps=False), so it cannot inspect")
        self.model, self.params, self.encoder, self.map_space = model, params, encoder, map_space
        self.mesh, self.rules = model.kernels.mesh, model.kernels.rules
        self._run = compiled(self.mesh, self.rules)
        self.questions = Questions(encoder)
        self.answers = encoder.prompt.answer_tokens(encoder.tokenizer)

    def room(self, count: int) -> int:
        """The places a batch of `count` queries takes: as many on every device."""
        devices = 1 if self.mesh is None else parts(self.mesh, self.rules.batch)
        return -(-count // devices) * devices

    def lay_out(self, references: Sequence[np.ndarray], ratio: float = 1.0) -> PrefixRows:
        """The host's part of `prefill`, for a thread of its own."""
        return lay_out(references, ratio, self.encoder)

    def prefill(self, references: Sequence[np.ndarray] | PrefixRows, ratio: float = 1.0) -> Prefix:
        """Read ordered references uint8[H, W, 3], none or more; of all but the first the share `ratio` of tokens stays
        (paper eq. 9)."""
        laid = references if isinstance(references, PrefixRows) else self.lay_out(references, ratio)
        rows = laid.rows if self.mesh is None else jax.device_put(laid.rows, replicated(self.mesh))
        return Prefix(self._run.prefill(self.model, self.params, rows), laid.limits, laid.starts)

    def encode_images(
        self, queries: Sequence[np.ndarray] | tuple[np.ndarray, Question], room: int | None = None
    ) -> QueryImages:
        """Queries uint8[H, W, 3] through the vision tower, in a batch of `room` places (default: `self.room`). They may
        come laid out by `questions`, for as many places."""
        if isinstance(queries, tuple) and isinstance(queries[-1], Question):
            patches, question = queries
            count = room or len(patches)
        else:
            count = len(queries)
            patches, question = self.questions(queries, room or self.room(count))
        if self.mesh is not None:
            patches, question = jax.device_put((patches, question), rows_sharding(self.mesh, self.rules))
        return QueryImages(question, self._run.encode_images(self.model, self.params, patches, question.grid), count)

    def score(
        self, prefix: Prefix, queries: QueryImages | Sequence[np.ndarray], shots: Sequence[int] | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Every query against the first k references, for each k of `shots` (default: all of them).

        Returns (margins float32[room, K], maps float32[room, K, N]), on the device. Places beyond the queries mean
        nothing, nor do map cells beyond an image's own.
        """
        images = queries if isinstance(queries, QueryImages) else self.encode_images(queries)
        shots = [prefix.references] if shots is None else list(shots)
        if max(shots) > prefix.references:
            raise ValueError(f"{max(shots)} shots asked of a prefix of {prefix.references} references")
        return self._run.score_queries(
            self.model, self.answers, self.map_space, self.params, prefix.cache, prefix.limits[shots],
            prefix.starts[shots], images.tokens, images.question,
        )  # fmt: skip


class Compiled(NamedTuple):
    """The three functions a scorer runs: `prefill` of infer/prefix.py, `encode_images` and `score_queries`."""

    prefill: jax.stages.Wrapped
    encode_images: jax.stages.Wrapped
    score_queries: jax.stages.Wrapped


@functools.cache
def compiled(mesh: jax.sharding.Mesh | None, rules: ShardingRules) -> Compiled:
    """They compile once per process, whatever the scorer."""
    if mesh is None:
        return Compiled(
            jax.jit(prefill, static_argnums=0),
            jax.jit(encode_images, static_argnums=0),
            jax.jit(score_queries, static_argnums=(0, 1, 2)),
        )
    jit = functools.partial(jax.jit, compiler_options=compiler_options(mesh))
    rows = rows_sharding(mesh, rules)

    def prefill_for_all(model: Model, params, references):
        cache = prefill(model, params, references)
        return jax.lax.with_sharding_constraint(cache, on_all(cache, mesh, rules))

    return Compiled(
        jit(prefill_for_all, static_argnums=0),
        jit(encode_images, static_argnums=0, out_shardings=rows),
        jit(score_queries, static_argnums=(0, 1, 2), out_shardings=rows),
    )


def on_all(cache: Any, mesh: jax.sharding.Mesh, rules: ShardingRules) -> Any:
    """Shardings of keys and values [..., P, K, D]: every device has all slots, of its own heads."""
    return jax.tree.map(lambda x: rules.sharding(mesh, (*(None,) * (x.ndim - 2), "kv", None), x.shape), cache)


def encode_images(model: Model, params, patches, grid):
    """patches uint8[Q, P, 3·patch²], grid int32[Q, 2] -> tokens [Q, N, E] in raster order."""
    tokens, _ = model.apply({"params": params}, patches[:, None], grid[:, None], method="encode_images")
    return tokens[:, 0]


def score_queries(model: Model, answers: AnswerTokens, map_space: str, params, cache, limits, starts, tokens, question):
    """limits, starts int32[K]; tokens [Q, N, E] -> (margins float32[Q, K], maps float32[Q, K, N])."""
    hidden, logit_maps, probability_maps = model.apply(
        {"params": params}, cache, limits, starts, tokens, question, method="after_prefix"
    )
    logits = model.apply({"params": params}, hidden, method="logits")
    return margin_of(logits, answers), jax.nn.sigmoid(logit_maps) if map_space == "logit" else probability_maps

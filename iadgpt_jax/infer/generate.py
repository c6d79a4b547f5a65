"""Answers, token by token, with a key-value cache: greedy or sampled, in batches or streamed to the caller.

A prompt is an `Encoded` whose blocks end in a question; every block gets an answer, and blocks of one prompt share its
images. Each prompt has a row of its own. Where its tokens stand in the row does not matter (left- and right-padded
rows give the same answers): what a new token may see follows from segments and blocks as in training.

Suffixes: B rows, S prompt slots, M answers per row, L longest answer ("room"), T = S + L·M cache slots, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from iadgpt_jax.data.encode import Encoded
from iadgpt_jax.data.pack import pack
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.buckets import bucket, bucketed_row_shape
from iadgpt_jax.models.attention import sees
from iadgpt_jax.models.protocols import Model, VisionTower
from iadgpt_jax.models.registry import model_of
from iadgpt_jax.models.rows import Rows, take_slots, visibility_of

LEAST_ROOM = 16


@dataclass(frozen=True)
class Sampling:
    """temperature 0 takes the likeliest token; otherwise one is drawn among the likeliest that make up top_p."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if self.temperature < 0:
            raise InputError(f"temperature is {self.temperature}; choose 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; choose a value above 0 and at most 1")


class Prompts(NamedTuple):
    """Rows of prompts; last int32[B, M]: slot of each answer's last prompt token; position int32[B, M]: text position
    of its first new token; wanted bool[B, M]: False where there is nothing to answer."""

    rows: Rows
    last: jax.Array
    position: jax.Array
    wanted: jax.Array


class Progress(NamedTuple):
    """What the decoding loop carries. count int32[]: tokens chosen so far; tokens int32[B, M, L]; done bool[B, M]."""

    count: jax.Array
    tokens: jax.Array
    done: jax.Array
    caches: list


class Choice(NamedTuple):
    """How the next token is chosen; temperature None (greedy) is static."""

    temperature: jax.Array | None
    top_p: jax.Array
    key: jax.Array


def lay_out(encodeds: Sequence[Encoded], vision: VisionTower) -> Prompts:
    """Prompts as host arrays, one row each, their sizes rounded up so that shapes repeat."""
    bare = [
        replace(e, blocks=[replace(b, targets=[], target_words=[], keyword_rows=[], scored=False) for b in e.blocks])
        for e in encodeds
    ]
    shape = bucketed_row_shape(bare, vision)
    rows, answers = bucket(len(bare)), shape.maps
    shape = replace(shape, maps=1)
    packed = [pack([e], 1, shape, vision) for e in bare]
    packed += [pack([], 1, shape, vision)] * (rows - len(bare))
    last, position = np.zeros((2, rows, answers), np.int32)
    wanted = np.zeros((rows, answers), bool)
    for row, encoded in enumerate(bare):
        _, _, starts = packed[row].where[0]
        for column, (block, start) in enumerate(zip(encoded.blocks, starts, strict=True)):
            last[row, column] = start + len(block.segment) - 1
            position[row, column] = block.next_position
            wanted[row, column] = True
    fields = zip(*(p.rows for p in packed), strict=True)
    return Prompts(Rows(*(np.concatenate(field) for field in fields)), last, position, wanted)


class Generator:
    """Answers prompts with one model. Compiled once per model and size of batch, row and room, not per prompt.

    params: the model's parameter tree. stop: token ids that end an answer.
    """

    def __init__(self, model: Model, params: dict, stop: Sequence[int]):
        self.model, self.params, self.stop = model, params, tuple(stop)
        self._start, self._advance, self._generate = (
            functools.partial(function, model, self.stop) for function in (_START, _ADVANCE, _GENERATE)
        )

    @functools.cached_property
    def weights(self) -> list[dict]:
        """The decoder's layers apart from each other: a second copy, made when first needed."""
        config = self.model.config
        return jax.jit(model_of(config).decode.layers, static_argnums=0)(config, self.params)

    def __call__(
        self, encodeds: Sequence[Encoded], max_new: int = 128, sampling: Sampling | None = None
    ) -> list[list[list[int]]]:
        """The tokens of every answer, without the one that ended it: [prompt][block][token]."""
        prompts, room, choice = self._prepare(encodeds, max_new, sampling)
        done = jax.device_get(self._generate(self.params, self.weights, prompts, choice, np.int32(max_new), room=room))
        tokens, count = done
        return [
            [self._cut(tokens[row, column, :count].tolist()) for column in range(len(encoded.blocks))]
            for row, encoded in enumerate(encodeds)
        ]

    def stream(self, encoded: Encoded, max_new: int = 128, sampling: Sampling | None = None) -> Iterator[int]:
        """The tokens of the one answer of one prompt, each as soon as it is known; equal to those of `__call__`."""
        if len(encoded.blocks) != 1:
            raise ValueError(f"{encoded.task}: {len(encoded.blocks)} answers cannot be streamed at once")
        prompts, room, choice = self._prepare([encoded], max_new, sampling)
        progress, sight = self._start(self.params, prompts, choice, room=room)
        for index in range(max_new):
            token = int(progress.tokens[0, 0, index])
            if token in self.stop:
                return
            yield token
            if index + 1 < max_new:
                progress = self._advance(self.params, self.weights, prompts, choice, sight, progress)

    def _prepare(self, encodeds, max_new: int, sampling: Sampling | None) -> tuple[Prompts, int, Choice]:
        if max_new < 1:
            raise InputError(f"max_new is {max_new}: there is nothing to generate")
        sampling = sampling or Sampling()
        temperature = np.float32(sampling.temperature) if sampling.temperature > 0 else None
        choice = Choice(temperature, np.float32(sampling.top_p), jax.random.key(sampling.seed))
        prompts = lay_out(encodeds, self.model.config.vision)
        return jax.device_put(prompts), bucket(max_new, LEAST_ROOM), choice

    def _cut(self, tokens: list[int]) -> list[int]:
        ends = [index for index, token in enumerate(tokens) if token in self.stop]
        return tokens[: ends[0]] if ends else tokens


def _start(model: Model, stop, params, prompts: Prompts, choice: Choice, *, room: int):
    """Read the prompts and choose the first tokens: (Progress, sight bool[B, M, S]: prompt slots each answer sees)."""
    hidden, kept = _apply(model, params, "prefill", prompts.rows)
    logits = _apply(model, params, "logits", take_slots(hidden, prompts.last))
    visibility = visibility_of(prompts.rows)
    sight = sees(visibility.take(prompts.last), visibility)
    tokens = jnp.full((*prompts.last.shape, room), stop[0], jnp.int32)
    caches = model_of(model.config).decode.room_for(kept, model.config, room * prompts.last.shape[1])
    progress = Progress(jnp.int32(0), tokens, ~prompts.wanted, caches)
    return _choose(stop, logits, choice, progress), sight


def _advance(model: Model, stop, params, weights, prompts: Prompts, choice: Choice, sight, progress: Progress):
    """Feed the newest token of every answer and choose the next: Progress."""
    batch, answers, slots = sight.shape
    newest = progress.count - 1
    room = progress.tokens.shape[2]
    tokens = jax.lax.dynamic_index_in_dim(progress.tokens, newest, axis=2, keepdims=False)
    # New tokens lie behind the prompt, one of each answer in turn; an answer sees its own.
    turn, owner = np.divmod(np.arange(room * answers), answers)
    own = (owner == np.arange(answers)[:, None]) & (turn <= newest)
    mask = jnp.concatenate([sight, jnp.broadcast_to(own, (batch, *own.shape))], axis=-1)
    logits, caches = model_of(model.config).decode.step(
        model, params, weights, tokens, prompts.position + newest, mask, slots + newest * answers, progress.caches
    )
    return _choose(stop, logits, choice, progress._replace(caches=caches))


def _generate(model: Model, stop, params, weights, prompts: Prompts, choice: Choice, limit, *, room: int):
    """All answers, each to its stop token or `limit` int32[] tokens: (tokens int32[B, M, L], count int32[])."""
    progress, sight = _start(model, stop, params, prompts, choice, room=room)
    progress = jax.lax.while_loop(
        lambda p: (p.count < limit) & ~p.done.all(),
        lambda p: _advance(model, stop, params, weights, prompts, choice, sight, p),
        progress,
    )
    return progress.tokens, progress.count


_START = jax.jit(_start, static_argnames=("model", "stop", "room"))
_ADVANCE = jax.jit(_advance, static_argnames=("model", "stop"), donate_argnames="progress")
_GENERATE = jax.jit(_generate, static_argnames=("model", "stop", "room"))


def _apply(model: Model, params, method: str, *arguments):
    return model.apply({"params": params}, *arguments, method=method)


def _choose(stop, logits, choice: Choice, progress: Progress) -> Progress:
    """Append a token per answer, chosen from logits float32[B, M, V]; finished answers get the stop token again."""
    if choice.temperature is None:
        token = jnp.argmax(logits, axis=-1)
    else:
        key = jax.random.fold_in(choice.key, progress.count)
        token = jax.random.categorical(key, likeliest(logits / choice.temperature, choice.top_p))
    token = jnp.where(progress.done, stop[0], token.astype(jnp.int32))
    done = progress.done | jnp.isin(token, jnp.array(stop))
    tokens = jax.lax.dynamic_update_index_in_dim(progress.tokens, token, progress.count, axis=2)
    return Progress(progress.count + 1, tokens, done, progress.caches)


def likeliest(logits, top_p):
    """logits[..., V] with −∞ wherever the tokens more likely than this one make up top_p already."""
    falling = jnp.sort(logits, axis=-1, descending=True)
    probability = jax.nn.softmax(falling, axis=-1)
    before = jnp.cumsum(probability, axis=-1) - probability
    least = jnp.where(before < top_p, falling, jnp.inf).min(axis=-1, keepdims=True)
    return jnp.where(logits >= least, logits, -jnp.inf)

"""The batch every model is given: packed rows of images and text, as data/pack.py lays them out.

Suffixes: B rows, S decoder slots, I image slots, P patches per image, M map queries per row, R keyword rows per map
query, A answer targets per row, E decoder width.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from iadgpt_jax.models.attention import Visibility
from iadgpt_jax.models.protocols import VisionTower


class Rows(NamedTuple):
    """A batch of packed rows; numpy on the host, sharded arrays on devices. All shapes are static.

    Text: tokens, segment, block, limit int32[B, S] (attention/visibility.py), positions int32[B, 3, S] (an image token
    carries its image's origin; row and column are added once it is known which tokens were kept).
    Images: patches uint8[B, I, P, 3·patch²], grid int32[B, I, 2] merged tokens high and wide (0: empty slot),
    keep int32[B, I] tokens kept, anchor int32[B, I] slot of the first reference,
    image_slot int32[B, S] (-1: text), image_token int32[B, S] which of the kept tokens stands here.
    Maps: map_rows int32[B, M, R], map_weights float32[B, M, 2, R] (abnormal, normal; each sums to 1, or 0 where
    unused), map_start int32[B, M], masks uint8[B, M, h, w], map_valid float32[B, M].
    Targets: target_slots, target_ids int32[B, A], target_weights float32[B, A]: the slot whose hidden state predicts
    the id; target_words int32[B, A]: what the id says (answer_loss.named). answer_slots int32[B, M]: the slot that
    predicts the first answer token of a detection question.
    """

    tokens: jax.Array
    segment: jax.Array
    block: jax.Array
    limit: jax.Array
    positions: jax.Array
    patches: jax.Array
    grid: jax.Array
    keep: jax.Array
    anchor: jax.Array
    image_slot: jax.Array
    image_token: jax.Array
    map_rows: jax.Array
    map_weights: jax.Array
    map_start: jax.Array
    map_valid: jax.Array
    masks: jax.Array
    target_slots: jax.Array
    target_ids: jax.Array
    target_weights: jax.Array
    target_words: jax.Array
    answer_slots: jax.Array


def blank_rows(vision: VisionTower) -> Rows:
    """The smallest legal batch: one row, one image slot of one window, one of everything else."""
    patches = vision.window_units**2 * vision.merge**2
    tokens = patches // vision.merge**2
    slots = np.zeros((1, tokens + 1), np.int32)
    one = np.zeros((1, 1), np.int32)
    return Rows(
        tokens=slots, segment=slots, block=slots, limit=slots, positions=np.zeros((1, 3, tokens + 1), np.int32),
        patches=np.zeros((1, 1, patches, vision.patch_values), np.uint8), grid=np.ones((1, 1, 2), np.int32),
        keep=one + 1, anchor=one, image_slot=slots - 1, image_token=slots, map_rows=np.zeros((1, 1, 1), np.int32),
        map_weights=np.zeros((1, 1, 2, 1), np.float32), map_start=one, map_valid=one.astype(np.float32),
        masks=np.zeros((1, 1, 4, 4), np.uint8), target_slots=one, target_ids=one,
        target_weights=one.astype(np.float32), target_words=one, answer_slots=one,
    )  # fmt: skip


def visibility_of(rows: Rows) -> Visibility:
    """Who sees whom in rows."""
    order = jnp.broadcast_to(jnp.arange(rows.tokens.shape[1], dtype=jnp.int32), rows.tokens.shape)
    return Visibility(rows.segment, rows.block, rows.limit, order)


def take_slots(hidden, slots):
    """hidden[B, S, E] at slots int32[B, A] -> [B, A, E]."""
    return jnp.take_along_axis(hidden, slots[..., None], axis=1)

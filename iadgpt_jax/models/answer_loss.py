"""Cross-entropy of answers: the loss of every model that answers in words. Float32, normalised by the weight of all
targets.

Suffixes: B rows, A targets, E width, V vocabulary, C vocabulary chunks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from iadgpt_jax.errors import InputError


def answer_loss(logits, ids, weights, total=None):
    """Mean cross-entropy over targets. logits float32[B, A, V], ids int32[B, A], weights float32[B, A].

    total float32[]: the sum of weights over the whole batch, where this is a part of it."""
    losses = jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
    return _mean(losses, weights, total)


def check_chunks(vocab: int, chunks: int) -> None:
    """Raises InputError where a vocabulary cannot be cut into so many parts."""
    if vocab % chunks:
        raise InputError(f"config.vocab_chunks={chunks} does not divide the vocabulary of {vocab}: choose another")


def chunked_answer_loss(hidden, table, chunks: int, ids, weights, total=None):
    """answer_loss of logits hidden[B, A, E] · table[V, E] that never exist whole: V / chunks of them at a time, and
    once more in the backward pass.

    The vocabulary is cut and not the targets, so that each part of the table's gradient is written, and summed over
    devices, once. Chunk c takes the ids c, c + C, c + 2C, …: it then lies split over devices as the table does.
    Raises:
      InputError: the vocabulary does not divide.
    """
    vocab, width = table.shape
    check_chunks(vocab, chunks)
    exact = hidden.astype(jnp.float32)  # its gradient is summed over chunks: not in bfloat16

    @jax.checkpoint
    def chunk(_, part):
        number, rows = part
        logits = jnp.einsum(
            "bae,ve->bav", exact.astype(hidden.dtype), rows.astype(hidden.dtype), preferred_element_type=jnp.float32
        )
        here = jnp.take_along_axis(logits, (ids // chunks)[..., None], axis=-1)[..., 0]
        return None, (jax.nn.logsumexp(logits, axis=-1), jnp.where(ids % chunks == number, here, 0.0))

    parts = jnp.moveaxis(table.reshape(vocab // chunks, chunks, width), 1, 0)
    _, (sums, own) = jax.lax.scan(chunk, None, (jnp.arange(chunks), parts))
    return _mean(jax.nn.logsumexp(sums, axis=0) - own.sum(axis=0), weights, total)


def _mean(losses, weights, total):
    return (losses * weights).sum() / jnp.maximum(weights.sum() if total is None else total, 1.0)

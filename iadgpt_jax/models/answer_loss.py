"""Cross-entropy of answers: the loss of every model that answers in words. Float32, normalised by the weight of all
targets; of words that name something also apart.

Suffixes: B rows, A targets, E width, V vocabulary, C vocabulary chunks.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from iadgpt_jax.errors import InputError

WORDS = ("verdict", "kind", "place")  # what tokens of an answer may be known to say
SUM, COUNT = "answer_sum/", "answer_count/"  # what a step's metrics call `by_word`, before the name of a word


def named(word: str) -> int:
    """The number in Rows.target_words of tokens that say one of WORDS; 0 is that of any other token."""
    return 1 + WORDS.index(word)


def answer_losses(logits, ids):
    """Cross-entropy of every target, float32[B, A]. logits float32[B, A, V], ids int32[B, A]."""
    return jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]


def weighted_mean(losses, weights, total=None):
    """The mean of losses float32[B, A] by weights float32[B, A].

    total float32[]: the sum of weights over the whole batch, where this is a part of it."""
    return (losses * weights).sum() / jnp.maximum(weights.sum() if total is None else total, 1.0)


def by_word(losses, words):
    """Sums of the losses float32[B, A] of targets that name something, and how many these are, by what they name: words
    int32[B, A] as in Rows.target_words. Parts of a batch add up; whoever logs them divides (`means_of_words`)."""
    found = {}
    for name in WORDS:
        at = (words == named(name)).astype(jnp.float32)
        found |= {SUM + name: (losses * at).sum(), COUNT + name: at.sum()}
    return found


def means_of_words(metrics: Mapping[str, float]) -> dict[str, float]:
    """A step's metrics with "answer/kind", the mean loss of tokens that name a kind, for the sums and counts of
    `by_word`; without it where the step had no such token."""
    means = {
        f"answer/{name}": metrics[SUM + name] / metrics[COUNT + name] for name in WORDS if metrics.get(COUNT + name)
    }
    return {name: value for name, value in metrics.items() if not name.startswith((SUM, COUNT))} | means


def check_chunks(vocab: int, chunks: int) -> None:
    """Raises InputError where a vocabulary cannot be cut into so many parts."""
    if vocab % chunks:
        raise InputError(f"config.vocab_chunks={chunks} does not divide the vocabulary of {vocab}: choose another")


def chunked_answer_losses(hidden, table, chunks: int, ids):
    """answer_losses of logits hidden[B, A, E] · table[V, E] that never exist whole: V / chunks of them at a time, and
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
    return jax.nn.logsumexp(sums, axis=0) - own.sum(axis=0)

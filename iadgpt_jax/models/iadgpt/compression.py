"""Visual token compression (paper eq. 7–9): of a further reference keep the tokens least like the first reference.

Suffixes: I images, N merged tokens per image, E width.
"""

from __future__ import annotations

import jax.numpy as jnp


def kept_tokens(features, valid, anchor, keep):
    """Which merged tokens of each image stay, in raster order.

    features[I, N, E], valid bool[I, N] (tokens inside the image's grid), anchor int32[I] (the first reference of the
    same instance; the image itself where nothing is dropped), keep int32[I] (how many stay).
    Returns int32[I, N]: the first keep[i] entries are the kept tokens; an image that keeps all of its tokens gets the
    identity, exactly.
    """
    unit = features.astype(jnp.float32)
    unit *= jnp.where(valid, 1.0, 0.0)[..., None] / (jnp.linalg.norm(unit, axis=-1, keepdims=True) + 1e-12)
    similarity = jnp.einsum("ine,ime->inm", unit, unit[anchor])  # eq. 7
    similarity = jnp.where(valid[anchor][:, None, :], similarity, -jnp.inf)
    nearest = jnp.where(valid, similarity.max(axis=-1), jnp.inf)  # eq. 8; tokens outside the grid go last
    rank = jnp.argsort(jnp.argsort(nearest, axis=-1, stable=True), axis=-1, stable=True)
    stays = rank < keep[:, None]  # eq. 9
    index = jnp.arange(features.shape[1])
    order = jnp.argsort(jnp.where(stays, index, index + features.shape[1]), axis=-1)
    whole = (keep >= valid.sum(axis=-1))[:, None]
    return jnp.where(whole, index, order).astype(jnp.int32)

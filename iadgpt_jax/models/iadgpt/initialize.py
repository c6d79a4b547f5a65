"""Fresh parameters for an IADGPT, each boxed with the logical axes of its array.

The "compare" start is for training from scratch: decoder attention begins as matching (keys resemble queries) that
subtracts what it finds (outputs resemble negated values), so a query's token is compared with its like in the
references from the first step on. Patches are seen through low cosines, so what varies little but matters is not
drowned by brightness; other branches begin small, so that tokens still say what stands at their place.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from iadgpt_jax.models.iadgpt.config import ModelConfig
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.rows import Rows, blank_rows

MATCH, SUBTRACT, NOISE, TIME = 1.4, 0.7, 0.2, -1.0
BRANCH = 0.2  # of the usual standard deviation
EMBEDDING = 0.2  # standard deviation of token embeddings


def boxed_params(config: ModelConfig, key: jax.Array):
    """Float32 parameters, each boxed with its logical axes. Trace it with jax.eval_shape for shapes alone."""

    def touch(model: IADGPT, rows: Rows):
        return model.logits(model(rows, maps=False).hidden)

    params = IADGPT(config).init(key, blank_rows(config.vision), method=touch)["params"]
    return _comparing(params, config) if config.init == "compare" else params


def _comparing(params, config: ModelConfig):
    """The "compare" start, see the top of the file."""
    flat = traverse_util.flatten_dict(params, sep="/")
    both_halves = np.tile(np.arange(config.language.head_width // 2), 2)  # rotation pairs (j, j + D/2)

    def set_to(path: str, values) -> None:
        flat[path] = flat[path].replace_boxed(jnp.asarray(values, flat[path].unbox().dtype))

    for path in list(flat):
        start = flat[path].unbox() if isinstance(flat[path], nn.meta.AxisMetadata) else flat[path]
        if path.startswith("language") and path.endswith("attention/q/kernel"):
            base = path.removesuffix("q/kernel")
            key, value = (_orthonormal(nn.meta.unbox(flat[base + name])) for name in ("k/kernel", "v/kernel"))
            key *= MATCH
            # Opposed in time: a token should match its like in another image, not itself.
            toward = np.where(np.arange(key.shape[-1] // 2) < config.language.mrope_section[0], TIME, 1.0)[both_halves]
            per_kv = start.shape[-2] // key.shape[-2]
            set_to(base + "k/kernel", key)
            set_to(base + "v/kernel", value)
            set_to(path, jnp.repeat(key * toward, per_kv, axis=-2) + NOISE * start)
            back = jnp.moveaxis(jnp.repeat(value, per_kv, axis=-2), -3, -1)
            set_to(base + "out/kernel", -SUBTRACT / per_kv * back)
        elif path.endswith("mlp/down/kernel") or (path.startswith("vision") and path.endswith("attention/out/kernel")):
            set_to(path, BRANCH * start)
        elif path == "language/embedding":
            set_to(path, EMBEDDING / 0.02 * start)
        elif path == "vision/patch_embed":
            filters = _cosines(config.vision.patch, start.shape[-1])
            slices = start.size // filters.size  # whose kernels add up, where a tower has several
            set_to(path, np.broadcast_to(filters, start.shape) / slices)
    return traverse_util.unflatten_dict(flat, sep="/")


def _orthonormal(kernel):
    """float32[..., E, K, D] random -> its nearest orthonormal columns, one basis over all of K·D ≤ E."""
    flat = kernel.reshape(*kernel.shape[:-2], -1)
    q, r = jnp.linalg.qr(flat)
    return (q * jnp.sign(jnp.diagonal(r, axis1=-2, axis2=-1))[..., None, :]).reshape(kernel.shape)


def _cosines(patch: int, width: int) -> np.ndarray:
    """float32[3·patch², width]: the lowest cosines over a patch, in brightness and two colour contrasts, each scaled to
    about unit variance on photographs (amplitude falls with frequency, colour varies less than brightness)."""
    colours = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
    at = (np.arange(patch) + 0.5) * np.pi / patch
    waves = []
    for u in range(patch):
        for v in range(patch):
            wave = np.outer(np.cos(u * at), np.cos(v * at))
            wave /= np.linalg.norm(wave)
            for index, colour in enumerate(colours):
                reach = (u + v) * (1.4 if index else 1.0)
                gain = (1 + u + v) ** 1.2 * (2.0 if index else 1.0) / patch
                waves.append((reach + 0.5 * bool(index), u, v, index, gain * colour[:, None, None] * wave))
    waves.sort(key=lambda wave: wave[:4])
    filters = np.stack([wave[-1].reshape(-1) for wave in waves], axis=-1)
    return np.resize(filters, (filters.shape[0], width)) if width > filters.shape[1] else filters[:, :width]

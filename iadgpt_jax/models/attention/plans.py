"""How a decoder layer attends: every mode is a plan, a pytree with one call, and layers need not know which it is.

    plan(q, k, v, cache, tap) -> (attended [B, S, H, D], the cache to store or None, what the tap read or None)

    WholeRows    rows attend to themselves, on the kernel of the platform: training, and scoring whole prompts
    Prefill      the same, and keys and values are kept: the references before scoring, the prompt before generation
    AfterPrefix  lanes attend to the KV cache of a prefix and to themselves (prefixed.py)
    DecodeStep   new tokens attend to a KV cache and are written into it (kv_cache.py)

A tap is whatever a model reads from a layer beside its output, or None. It is called as

    tap(q, k, visible, prefix=None)

with visible(slots int32[B, R]) -> bool[B, R, S], which of the slots of k those slots see, and, where keys lie in front
of these in a cache that all lanes share, prefix: (keys [P, K, D], bool[B, P] which of them a lane sees).

Suffixes: B rows, S slots, P prefix slots, R some of the slots, H heads, K KV heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import struct

from iadgpt_jax.models.attention.kv_cache import KVCache
from iadgpt_jax.models.attention.visibility import Visibility, sees


@struct.dataclass
class WholeRows:
    """Rows attend to themselves. kernel: kernel(q, k, v) -> [B, S, H, D], a pytree (kernels.py); visibility: of every
    slot, for the tap (None where nothing is tapped)."""

    kernel: Callable
    visibility: Visibility | None = None

    def __call__(self, q, k, v, cache: None, tap: Callable | None) -> tuple[jax.Array, None, Any]:
        read = None if tap is None else tap(q, k, self.visible)
        return self.kernel(q, k, v), None, read

    def visible(self, slots):
        """Slots int32[B, R] of the row -> bool[B, R, S]: what each of them sees."""
        return sees(self.visibility.take(slots), self.visibility)


@struct.dataclass
class Prefill:
    """Whole rows whose keys and values are kept."""

    rows: WholeRows

    def __call__(self, q, k, v, cache: None, tap: Callable | None) -> tuple[jax.Array, KVCache, Any]:
        out, _, read = self.rows(q, k, v, None, tap)
        return out, KVCache(k, v), read

"""References, read once: what every query of their category needs of them is a prefix of keys and values.

Suffixes: I reference images (rounded up so that shapes repeat), P prefix slots, K KV heads, D head width.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from iadgpt_jax.data.chat import HEADER
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.images import pixel_hash
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.data.tasks.instance import Block, Instance
from iadgpt_jax.infer.buckets import bucket
from iadgpt_jax.models.attention.kv_cache import KVCache
from iadgpt_jax.models.protocols import Model
from iadgpt_jax.models.rows import Rows


@dataclass(frozen=True)
class Prefix:
    """cache: keys and values [..., 1, P, K, D] of every decoder layer. limits, starts int32[R + 1]: after the first k
    of R references, how many slots a query sees, and the text position from which it goes on."""

    cache: tuple[KVCache | None, KVCache]
    limits: np.ndarray
    starts: np.ndarray

    @property
    def references(self) -> int:
        return len(self.limits) - 1


@dataclass(frozen=True)
class PrefixRows:
    """A prefix before it is read: one packed row of references alone, and the marks of `Prefix`."""

    rows: Rows
    limits: np.ndarray
    starts: np.ndarray


def lay_out(references: Sequence[np.ndarray], ratio: float, encoder: Encoder) -> PrefixRows:
    """Ordered references uint8[H, W, 3] as a row on the host; `ratio` r of eq. 9 for all but the first."""
    # A block without content, after each reference, says where a query that sees no further would begin.
    marks = tuple(Block((), sees=k) for k in range(1, len(references) + 1))
    encoded = encoder(Instance("references", marks, tuple(references), ratio))
    header = len(encoder.tokenizer.encode(HEADER))
    limits = np.array([header, *(block.limit for block in encoded.blocks)], np.int32)
    starts = np.array([header, *(block.next_position for block in encoded.blocks)], np.int32)
    vision = encoder.config.vision
    window = (vision.window_units * vision.merge) ** 2
    images = bucket(max(len(references), 1))
    last = limits[-1] - limits[-2] if len(references) else 0
    shape = RowShape(
        slots=len(encoded.shared) + (images - len(references)) * int(last), images=images,
        patches=max((len(image.patches) for image in encoded.images), default=window),
        maps=1, keyword_rows=1, targets=1, mask_side=1,
    )  # fmt: skip
    return PrefixRows(pack([replace(encoded, blocks=[])], 1, shape, vision).rows, limits, starts)


def prefill(model: Model, params: dict, rows: Rows) -> tuple[KVCache | None, KVCache]:
    """The keys and values of a row of references."""
    return model.apply({"params": params}, rows, method="prefill")[1]


class RecentPrefixes:
    """The prefixes of the sets of references last asked for, told apart by their pixels. Safe under threads."""

    def __init__(self, prefill: Callable[[Sequence[np.ndarray]], Prefix], keep: int):
        self._prefill, self._keep = prefill, keep
        self._prefixes: OrderedDict[tuple[str, ...], Prefix] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, references: Sequence[np.ndarray]) -> Prefix:
        """That of ordered references uint8[H, W, 3]; read if they are new."""
        key = tuple(pixel_hash(reference) for reference in references)
        with self._lock:
            if key not in self._prefixes:
                self._prefixes[key] = self._prefill(references)
            self._prefixes.move_to_end(key)
            while len(self._prefixes) > self._keep:
                self._prefixes.popitem(last=False)
            return self._prefixes[key]

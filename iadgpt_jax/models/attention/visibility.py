"""Who sees whom in a packed row: three integers per slot, one rule.

The rule covers plain instances, packed rows and queries that share their references.

Suffixes: B rows, S slots, T keys, R some of the slots.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Visibility(NamedTuple):
    """Integers int32[B, S] that decide visibility.

    segment: the instance a slot belongs to, 0 for padding. block: 0 for the part an instance's query blocks share,
    1.. for its blocks. limit: the slots of block 0 a slot may see end before this index. order: the slot's own index.
    """

    segment: jax.Array
    block: jax.Array
    limit: jax.Array
    order: jax.Array

    def take(self, index) -> Visibility:
        """The same integers at index int32[B, R]."""
        return Visibility(*(jnp.take_along_axis(field, index, axis=1) for field in self))

    def slice(self, start: int, stop: int | None) -> Visibility:
        return Visibility(*(field[:, start:stop] for field in self))


def sees(query: Visibility, key: Visibility):
    """bool[B, R, T]: causal, inside one instance; own block whole, the shared block up to the limit."""
    q = Visibility(*(field[:, :, None] for field in query))
    k = Visibility(*(field[:, None, :] for field in key))
    own = k.block == q.block
    shared = (k.block == 0) & (k.order < q.limit)
    return (q.segment == k.segment) & (k.order <= q.order) & (own | shared)


class Lanes(NamedTuple):
    """How a laned row is cut: `prefix` slots, then groups of (number of lanes, slots of each). Static."""

    prefix: int
    groups: tuple[tuple[int, int], ...]

    @property
    def slots(self) -> int:
        return self.prefix + sum(count * lane for count, lane in self.groups)

    def runs(self) -> list[tuple[int, int]]:
        """[start, end) of the prefix area and of every lane."""
        runs, at = [(0, self.prefix)], self.prefix
        for count, lane in self.groups:
            runs += [(at + i * lane, at + (i + 1) * lane) for i in range(count)]
            at += count * lane
        return runs

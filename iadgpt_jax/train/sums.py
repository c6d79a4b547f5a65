"""Counts of every process -> their sums, without any process waiting for them."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from iadgpt_jax.sharding import replicated


class ProcessSums:
    """Sums a few numbers over all processes of a mesh. Every process must ask, in the same order."""

    def __init__(self, mesh: Mesh):
        self.sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        # Waits for `after`, so that on no device it runs beside the step that computed it.
        self._sum = jax.jit(lambda parts, after: parts.sum(axis=0), out_shardings=replicated(mesh), keep_unused=True)

    def __call__(self, numbers: np.ndarray, after: jax.Array) -> jax.Array:
        """float32[K] of this process -> float32[K] of all, dispatched and not waited for. after: what must be computed
        before, float32[] on the mesh."""
        shape = (self.sharding.mesh.size, len(numbers))
        mine = self.sharding.addressable_devices_indices_map(shape)
        first = min(rows.start or 0 for rows, _ in mine.values())  # this process's numbers lie on one of its devices

        def part(index) -> np.ndarray:
            held = (index[0].start or 0) == first
            return np.asarray(numbers if held else np.zeros(len(numbers)), np.float32)[None]

        return self._sum(jax.make_array_from_callback(shape, self.sharding, part), after)

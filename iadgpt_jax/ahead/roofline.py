"""How fast a step can be at best: the slowest of arithmetic, main memory, links inside a slice and network between.

The bound assumes that all four overlap all the time, at their published rates; `exposed` adds the collectives that the
compiler did not overlap with computation. Both are lower bounds, not forecasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from iadgpt_jax.ahead.collectives import Collective
from iadgpt_jax.chips import Chip

ASSUMPTIONS = (
    "arithmetic at the published dense bfloat16 rate; matrix products only",
    "main memory at its published bandwidth; operands and results of every fusion once",
    "collectives on rings over the torus dimensions their devices differ in: two links per dimension that closes into "
    "a ring, one where it does not; between slices at a chip's share of the network",
    "bound: everything overlaps; exposed: collectives that are neither started early nor fused wait for themselves",
)


@dataclass(frozen=True)
class Roofline:
    """Seconds per step on one chip. links: of collectives inside a slice; network: of those between slices;
    exposed_links: of all that overlap no computation."""

    arithmetic: float
    memory: float
    links: float
    network: float
    exposed_links: float

    @property
    def bound(self) -> float:
        return max(self.arithmetic, self.memory, self.links, self.network)

    @property
    def exposed(self) -> float:
        hidden = self.links + self.network - self.exposed_links
        return max(self.arithmetic, self.memory, hidden) + self.exposed_links

    @property
    def limit(self) -> str:
        """What the bound is set by."""
        times = {"arithmetic": self.arithmetic, "memory": self.memory, "links": self.links, "network": self.network}
        return max(times, key=times.get)


def roofline(
    chip: Chip, mesh: jax.sharding.Mesh, flops: float, traffic: float, collectives: Sequence[Collective]
) -> Roofline:
    """Bounds from one chip's FLOPs, bytes of main memory and collectives."""
    links = network = exposed = 0.0
    for one in collectives:
        if not one.axes:
            continue
        if crosses_slices(mesh, one.axes):
            seconds = one.times * one.wire / chip.network
            network += seconds
        else:
            seconds = one.times * one.wire / link_bandwidth(chip, mesh, one.axes)
            links += seconds
        exposed += 0.0 if one.hidden else seconds
    return Roofline(flops / chip.flops, traffic / chip.hbm_bandwidth, links, network, exposed)


def crosses_slices(mesh: jax.sharding.Mesh, axes: Sequence[str]) -> bool:
    return len({getattr(device, "slice_index", None) for device in _group(mesh, axes)}) > 1


def link_bandwidth(chip: Chip, mesh: jax.sharding.Mesh, axes: Sequence[str]) -> float:
    """Bytes per second that one chip sends inside a slice, to a group that spans these mesh axes."""
    coords = [getattr(device, "coords", None) for device in _group(mesh, axes)]
    if not all(coords):
        return chip.link
    whole = np.array([device.coords for device in mesh.devices.flat if hasattr(device, "coords")])
    extent = whole.max(axis=0) - whole.min(axis=0) + 1
    ring = 16 if chip.torus == 2 else 4  # the smallest extent that closes into a ring: 2-D and 3-D tori
    closed = extent % ring == 0 if chip.torus == 2 else np.full(len(extent), bool((extent % ring == 0).all()))
    varies = [len(set(column)) > 1 for column in zip(*coords, strict=True)]
    count = sum(2 if closes else 1 for closes, moves in zip(closed, varies, strict=True) if moves)
    return chip.link * max(count, 1)


def _group(mesh: jax.sharding.Mesh, axes: Sequence[str]) -> list:
    """The devices that differ from the mesh's first one along these axes only."""
    index = tuple(slice(None) if name in axes else 0 for name in mesh.axis_names)
    return list(np.asarray(mesh.devices[index]).flat)

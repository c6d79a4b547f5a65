"""The mesh and the rules from logical axis names to mesh axes: the only place that knows mesh axis names.

One mesh with three axes. Rows are split over data and fsdp together; fsdp also splits parameters and optimizer state
along their embedding width; tensor splits heads, MLP width and vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from iadgpt_jax.errors import InputError

AXES = ("data", "fsdp", "tensor")


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over all devices, or those given; one size may be -1 for "the rest".

    Raises:
      InputError: the sizes do not multiply to the number of devices.
    """
    devices = list(devices if devices is not None else jax.devices())
    sizes = [data, fsdp, tensor]
    if sizes.count(-1) == 1:
        known = int(np.prod([s for s in sizes if s != -1]))
        sizes[sizes.index(-1)] = max(len(devices) // known, 1)
    if int(np.prod(sizes)) != len(devices):
        wanted = " × ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
        raise InputError(f"mesh {wanted} does not cover {len(devices)} devices: set config.mesh so that it does")
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


@dataclass(frozen=True)
class ShardingRules:
    """Logical axis name -> mesh axis (or axes), None: replicated."""

    batch: tuple[str, ...] | None = ("data", "fsdp")
    embed: str | None = "fsdp"
    vision: str | None = "fsdp"
    mlp: str | None = "tensor"
    vision_mlp: str | None = "tensor"
    heads: str | None = "tensor"
    vision_heads: str | None = "tensor"
    kv: str | None = "tensor"
    vocab: str | None = "tensor"

    def spec(self, axes: tuple[str | None, ...]) -> PartitionSpec:
        """PartitionSpec of an array with these logical axes. Raises ValueError if a mesh axis would be used twice."""
        mesh_axes = [None if axis is None else getattr(self, axis) for axis in axes]
        used = [name for axis in mesh_axes if axis for name in ((axis,) if isinstance(axis, str) else axis)]
        if len(used) != len(set(used)):
            raise ValueError(f"logical axes {axes} map to {mesh_axes}: a mesh axis can split only one dimension")
        return PartitionSpec(*mesh_axes)

    def sharding(self, mesh: Mesh, axes: tuple[str | None, ...], shape: tuple[int, ...]) -> NamedSharding:
        """Sharding of one array. Raises InputError if a dimension does not divide by the mesh axes that split it."""
        spec = self.spec(axes)
        for size, logical, names in zip(shape, axes, spec, strict=True):
            parts = int(np.prod([mesh.shape[n] for n in ((names,) if isinstance(names, str) else names or ())]))
            if size % parts:
                raise InputError(
                    f"logical axis {logical!r} of size {size} does not divide by {parts} ({names}): "
                    "choose a smaller config.mesh for it"
                )
        return NamedSharding(mesh, spec)


def tree_shardings(mesh: Mesh, rules: ShardingRules, axes, shapes):
    """Shardings for a tree of logical axes (tuples) and a like tree of arrays or ShapeDtypeStructs."""
    return jax.tree.map(
        lambda axis, leaf: rules.sharding(mesh, axis, leaf.shape), axes, shapes, is_leaf=lambda x: isinstance(x, tuple)
    )


def rows_sharding(mesh: Mesh, rules: ShardingRules) -> NamedSharding:
    """How a batch's arrays split over their first axis."""
    return NamedSharding(mesh, PartitionSpec(rules.batch))


def row_share(sharding: NamedSharding, rows: int) -> tuple[int, int]:
    """(which share, of how many equal ones) of a batch's `rows` this process has to bring, under `rows_sharding`.

    A process brings what its devices hold. Where tensor parallelism spans processes, those that hold the same rows
    bring the same share.
    Raises:
      InputError: the rows do not divide by the devices that split them, or not by processes.
    """
    split = int(np.prod([sharding.mesh.shape[name] for name in sharding.spec[0] or ()]))
    if rows % split:
        raise InputError(f"{rows} rows do not divide by {split} (data × fsdp): change config.rows or config.mesh")
    held: dict[int, set[int]] = {}
    for device, (part,) in sharding.devices_indices_map((split,)).items():
        held.setdefault(device.process_index, set()).add(part.start or 0)
    shares = sorted({tuple(sorted(parts)) for parts in held.values()})
    if sum(map(len, shares)) != split or len(set(map(len, shares))) > 1:
        raise InputError(
            f"config.mesh splits rows {split}-fold across the borders of {len(held)} processes: choose tensor so that "
            "it divides the devices of a process, or is a multiple of them"
        )
    return shares.index(tuple(sorted(held[jax.process_index()]))), len(shares)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())

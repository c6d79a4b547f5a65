"""The mesh and the rules from logical axis names to mesh axes: the only place that knows mesh axis names.

One mesh with three axes. Rows are split over data and fsdp together; fsdp also splits parameters and optimizer state
along their embedding width; tensor splits heads, MLP width and vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jax.experimental.mesh_utils import create_device_mesh, create_hybrid_device_mesh
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from iadgpt_jax.errors import InputError

AXES = ("data", "fsdp", "tensor")


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over all devices, or those given; one size may be -1: as many as are left.

    Several TPU slices are arranged along data, so that only gradients cross the data-center network between them.

    Raises:
      InputError: the sizes do not multiply to the number of devices, or data does not divide by the slices.
    """
    devices = list(devices if devices is not None else jax.devices())
    sizes = [data, fsdp, tensor]
    if sizes.count(-1) == 1 and min(size for size in sizes if size != -1) >= 1:
        known = int(np.prod([s for s in sizes if s != -1]))
        sizes[sizes.index(-1)] = max(len(devices) // known, 1)
    if min(sizes) < 1 or int(np.prod(sizes)) != len(devices):
        wanted = " × ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
        raise InputError(f"mesh {wanted} does not cover {len(devices)} devices: set config.mesh so that it does")
    automatic = (AxisType.Auto,) * 3
    if devices[0].platform != "tpu":
        return jax.make_mesh(sizes, AXES, axis_types=automatic, devices=devices)
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:  # splitting allowed, because 32 of 8 × 8 chips need a part of a torus dimension
        grid = create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return Mesh(grid, AXES, axis_types=automatic)
    if sizes[0] % slices:
        raise InputError(
            f"config.mesh.data={sizes[0]} does not divide by {slices} slices: set it to a multiple, so that parameters "
            "are not gathered over the network between slices"
        )
    inside, between = (sizes[0] // slices, *sizes[1:]), (slices, 1, 1)
    grid = create_hybrid_device_mesh(inside, between, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=automatic)


def mesh_of_this_machine(fsdp: int = 1) -> Mesh | None:
    """A mesh of all accelerators of this process, in which groups of `fsdp` devices shard one copy of the parameters.
    None: there is one device, which needs no mesh. On a CPU, whose devices are fake, only `fsdp` of them are used.

    Raises:
      InputError: there are fewer devices than `fsdp`, or their number does not divide by it.
    """
    devices = jax.local_devices()
    if fsdp < 1 or fsdp > len(devices):
        raise InputError(f"--fsdp={fsdp}: choose from 1 to the {len(devices)} devices of this machine")
    if devices[0].platform == "cpu":
        devices = devices[:fsdp]
    return None if len(devices) == 1 else make_mesh(-1, fsdp, 1, devices)


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
            if size % parts(mesh, names):
                raise InputError(
                    f"logical axis {logical!r} of size {size} does not divide by {parts(mesh, names)} ({names}): "
                    "choose smaller axes in config.mesh"
                )
        return NamedSharding(mesh, spec)


def parts(mesh: Mesh, names: str | tuple[str, ...] | None) -> int:
    """The number of shards into which these mesh axes split a dimension."""
    return int(np.prod([mesh.shape[n] for n in ((names,) if isinstance(names, str) else names or ())]))


@dataclass(frozen=True)
class ActivationSharding:
    """Constrains the sharding of activations. Without it the compiler may shard an activation along its width, like the
    parameters it is multiplied with, and send activations between devices in every layer. Sharded by rows,
    activations stay where they are and parameters are gathered instead.

    Without a mesh, or on one device, it changes nothing.
    """

    mesh: Mesh | None = None
    rules: ShardingRules = ShardingRules()

    def __call__(self, x, *axes: str | None):
        """x with its leading dimensions sharded along these logical axes (default: "batch"), the others not. If a
        dimension does not divide, x is returned as it is: a part of a batch may have fewer rows than devices."""
        if self.mesh is None or self.mesh.size == 1:
            return x
        axes = axes or ("batch",)
        spec = self.rules.spec((*axes, *(None,) * (x.ndim - len(axes))))
        if any(size % parts(self.mesh, names) for size, names in zip(x.shape, spec, strict=True)):
            return x
        return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, spec))


def tree_shardings(mesh: Mesh, rules: ShardingRules, axes, shapes):
    """Shardings for a tree of logical axes (tuples) and a tree of arrays or ShapeDtypeStructs of the same structure."""
    return jax.tree.map(
        lambda axis, leaf: rules.sharding(mesh, axis, leaf.shape), axes, shapes, is_leaf=lambda x: isinstance(x, tuple)
    )


def rows_sharding(mesh: Mesh, rules: ShardingRules) -> NamedSharding:
    """How the arrays of a batch are sharded: along their first axis, by rows."""
    return NamedSharding(mesh, PartitionSpec(rules.batch))


def row_share(sharding: NamedSharding, rows: int) -> tuple[int, int]:
    """(number of this process's share, number of shares): which of a batch's `rows` this process loads.

    A process loads the rows that its devices hold. Where tensor parallelism spans processes, those that hold the same
    rows load the same share. Shares are equal.

    Raises:
      InputError: the rows do not divide by data × fsdp, or processes would hold unequal or overlapping shares.
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
            f"config.mesh splits the rows into {split} shards that {len(held)} processes cannot share evenly: choose "
            "config.mesh.tensor so that it divides the devices of a process, or is a multiple of them"
        )
    return shares.index(tuple(sorted(held[jax.process_index()]))), len(shares)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def abstract_arrays(shapes, shardings, dtype=None):
    """A tree of ShapeDtypeStructs with these shardings, in their own dtypes or all in one."""
    return jax.tree.map(
        lambda leaf, at: jax.ShapeDtypeStruct(leaf.shape, dtype or leaf.dtype, sharding=at), shapes, shardings
    )

"""Collectives of a compiled module: kind, bytes, which mesh axes they span, and whether they overlap computation."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from iadgpt_jax.ahead.async_fusions import started_channels, starts
from iadgpt_jax.ahead.hlo import Instruction, Module

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all",
         "collective-broadcast")  # fmt: skip


@dataclass(frozen=True)
class Collective:
    """One collective. payload: bytes per chip of the whole array it makes or reduces; wire: bytes each chip sends, on
    rings; times: how often a step runs it; axes: the mesh axes whose devices take part; hidden: it overlaps
    computation, for it is started and awaited in two places, or fused with a matrix product."""

    kind: str
    payload: float
    wire: float
    times: float
    axes: tuple[str, ...]
    hidden: bool


def collectives(module: Module, mesh_shape: dict[str, int]) -> list[Collective]:
    """Every collective of the module once, on a mesh of these sizes (devices in the mesh's own order). An all-reduce of
    which a fusion keeps only the device's own slice, as the TPU compiler writes it, is a reduce-scatter."""
    found, apart = [], started_channels(module)
    for use in module.uses():
        one, local = use.instruction, module.computations[use.computation]
        kind = one.opcode.removesuffix("-start")
        if kind not in KINDS:
            continue
        begins = use.fused and starts(one, local)
        if use.fused and not begins and one.attribute("channel_id") in apart:
            continue  # counted where it starts
        groups = device_groups(one, int(np.prod(list(mesh_shape.values()))))
        if kind == "collective-permute":
            size = 2
        else:
            size = max((len(group) for group in groups), default=1)
        payload = _payload(one, kind, local, size)
        if kind == "all-reduce" and use.fused and _only_sliced(one, local):
            kind = "reduce-scatter"
        wire = {"all-reduce": 2.0, "collective-permute": 2.0, "collective-broadcast": 2.0}.get(kind, 1.0)
        wire *= payload * (size - 1) / size
        with_products = use.fused and any(other.opcode in ("dot", "convolution") for other in local.values())
        hidden = one.opcode.endswith("-start") or use.asynchronous or begins or with_products
        found.append(Collective(kind, payload, wire, use.times, spanned(groups, mesh_shape), hidden))
    return found


def _only_sliced(one: Instruction, local: dict[str, Instruction]) -> bool:
    """Whether all that is ever read of a collective's results are slices."""
    users = [other for other in local.values() if one.name in other.operands]
    return bool(users) and all(
        user.opcode == "dynamic-slice" or user.opcode in ("get-tuple-element", "bitcast") and _only_sliced(user, local)
        for user in users
    )


def _payload(one: Instruction, kind: str, local: dict[str, Instruction], size: int) -> float:
    """Bytes of the gathered, reduced or exchanged array on one chip."""
    operands = sum(local[name].bytes for name in one.operands if name in local)
    if kind == "all-gather":
        return float(operands * size)
    return float(operands)


def device_groups(one: Instruction, devices: int) -> list[list[int]]:
    """Which devices (by place in the mesh) take part together; pairs for a collective-permute."""
    pairs = re.search(r"source_target_pairs=\{(\{.*?\})\}", one.attributes)
    if pairs:
        return [[int(n) for n in pair.split(",")] for pair in re.findall(r"\{([\d,]+)\}", pairs.group(1))]
    explicit = re.search(r"replica_groups=\{(\{.*?\})\}", one.attributes)
    if explicit:
        return [[int(n) for n in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", explicit.group(1))]
    named = re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^)]*(?:\([^)]*\))?)\))? \{([^}]*)\}", one.attributes
    )
    if named:
        return _groups_of_axes(*named.groups())
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", one.attributes)
    if iota:
        return _iota(*iota.groups()[1:]).reshape([int(n) for n in iota.group(1).split(",")]).tolist()
    return [list(range(devices))]  # no groups: everyone


def _iota(sizes: str, order: str | None) -> np.ndarray:
    """Device numbers counted over `sizes`, then transposed."""
    sizes = [int(n) for n in sizes.split(",")]
    ids = np.arange(np.prod(sizes)).reshape(sizes)
    return ids.transpose([int(n) for n in order.split(",")]) if order else ids


def _groups_of_axes(mesh: str, device_ids: str | None, members: str) -> list[list[int]]:
    """Groups along axes of a mesh of the compiler's own: mesh "'a'=4,'b'=2", device_ids "[2,4]T(1,0)" or none, members
    "'a'", or parts of an axis "'a':(1)2": its size-2 part after parts of size 1."""
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh)}
    layout = re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", device_ids) if device_ids else None
    count = int(np.prod(list(sizes.values())))
    ids = _iota(*layout.groups()).reshape(-1) if layout else np.arange(count)
    parts: dict[str, list[tuple[int, int]]] = {name: [] for name in sizes}
    for name, before, size in re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", members):
        parts[name].append((int(before or 1), int(size or sizes[name])))
    shape, inside = [], []  # every axis cut into the parts that vary inside a group and what lies between them
    for name, whole in sizes.items():
        at = 1
        for before, size in sorted(parts[name]):
            if before > at:
                shape.append(before // at)
            inside.append(len(shape))
            shape.append(size)
            at = before * size
        if whole > at:
            shape.append(whole // at)
    ids = ids.reshape(shape)
    outside = [axis for axis in range(len(shape)) if axis not in inside]
    group = int(np.prod([shape[axis] for axis in inside]))
    return ids.transpose(outside + inside).reshape(-1, group).tolist()


def spanned(groups: list[list[int]], mesh_shape: dict[str, int]) -> tuple[str, ...]:
    """The mesh axes along which members of a group differ."""
    sizes = list(mesh_shape.values())
    axes = set()
    for group in groups:
        places = np.array(np.unravel_index(group, sizes))
        axes |= {name for name, row in zip(mesh_shape, places, strict=True) if len(set(row.tolist())) > 1}
    return tuple(name for name in mesh_shape if name in axes)

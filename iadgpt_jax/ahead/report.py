"""Compile a function for devices that are not there and say what it costs: one flat dict, ready for JSON.

Everything is per chip and per step unless it says otherwise.
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import jax

from iadgpt_jax.ahead.collectives import Collective, collectives
from iadgpt_jax.ahead.hlo import Module, parse
from iadgpt_jax.ahead.roofline import ASSUMPTIONS, roofline
from iadgpt_jax.ahead.work import flops, kernel_flops, traffic
from iadgpt_jax.chips import Chip

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def examine(
    function: jax.stages.Wrapped, arguments: tuple, mesh: jax.sharding.Mesh, chip: Chip, model_flops: float,
    visited: Mapping[int, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Trace, compile and analyse function(*arguments) on a mesh of one kind of chip.

    arguments: trees of ShapeDtypeStructs with shardings. model_flops: of the whole step, all devices together.
    visited: shares of the tiles that splash attention visits (ahead/tiles.py).
    Returns the report; of a program too large for the chip's memory, what can be said without its HLO.
    """
    devices = mesh.devices.size
    report: dict[str, Any] = {
        "devices": devices,
        "chip": chip.name,
        "mesh": dict(mesh.shape),
        "hbm_capacity_bytes": chip.hbm,
        "model_flops": model_flops / devices,
        "state_bytes": shard_bytes(arguments),
    }
    start = time.monotonic()
    lowered = function.lower(*arguments)
    report["trace_seconds"] = round(time.monotonic() - start, 1)
    start = time.monotonic()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        used = memory_wanted(str(error))
        if used is None:
            raise
        return report | {
            "fits": False, "hbm_peak_bytes": used, "compile_seconds": round(time.monotonic() - start, 1),
        }  # fmt: skip
    report["compile_seconds"] = round(time.monotonic() - start, 1)
    report |= memory(compiled)
    report["fits"] = report["hbm_peak_bytes"] <= chip.hbm
    return report | analyse(parse(compiled.as_text()), mesh, chip, model_flops / devices, visited)


def memory(compiled: jax.stages.Compiled) -> dict[str, int]:
    """Bytes on one chip: arguments, temporaries, results that are not written over arguments, code, and their peak."""
    m = compiled.memory_analysis()
    parts = {
        "argument_bytes": m.argument_size_in_bytes,
        "temporary_bytes": m.temp_size_in_bytes,
        "result_bytes": m.output_size_in_bytes - m.alias_size_in_bytes,
        "code_bytes": m.generated_code_size_in_bytes,
    }
    return parts | {"hbm_peak_bytes": sum(parts.values())}


def memory_wanted(message: str) -> int | None:
    """Bytes that a program wanted of main memory, from the TPU compiler's refusal; None: the error is another one."""
    number = r"([\d.]+)([KMGT]?)"
    used = re.search(rf"Used {number} of [\d.]+[KMGT]? hbm", message) or re.search(
        rf"out of memory on HBM, the total memory required for [\w ]+\({number}\)", message
    )
    return round(float(used.group(1)) * UNITS[used.group(2)]) if used else None


def shard_bytes(tree: Any) -> int:
    """Bytes that one device holds of a tree of ShapeDtypeStructs with shardings."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def analyse(
    module: Module, mesh: jax.sharding.Mesh, chip: Chip, model_flops: float, visited: Mapping[int, float] | None = None
) -> dict[str, Any]:
    """FLOPs, memory traffic, collectives and time bounds of a compiled module; model_flops: of one chip."""
    total = moved = 0.0
    unknown = set()
    for use in module.uses():
        local = module.computations[use.computation]
        total += use.times * flops(use.instruction, local, visited)
        if not use.fused:
            moved += use.times * traffic(use.instruction, local, module)
        if use.instruction.opcode == "custom-call" and "tpu_custom_call" in use.instruction.attributes:
            if kernel_flops(use.instruction, local, visited) is None:
                unknown.add(use.instruction.name)
    found = collectives(module, dict(mesh.shape))
    bounds = roofline(chip, mesh, total, moved, found)
    wire = sum(one.times * one.wire for one in found)
    hidden = sum(one.times * one.wire for one in found if one.hidden)
    return {
        "compiled_flops": total,
        "flops_ratio": total / model_flops,
        "hbm_traffic_bytes": moved,
        "arithmetic_intensity": total / max(moved, 1.0),
        "collectives": by_kind(found),
        "collectives_by_axis": by_axis(found),
        "hidden_share": hidden / wire if wire else 1.0,
        "roofline": {
            "arithmetic_seconds": bounds.arithmetic,
            "memory_seconds": bounds.memory,
            "links_seconds": bounds.links,
            "network_seconds": bounds.network,
            "exposed_links_seconds": bounds.exposed_links,
            "step_seconds": bounds.bound,
            "limit": bounds.limit,
            "mfu": model_flops / chip.flops / bounds.bound,
            "exposed_step_seconds": bounds.exposed,
            "exposed_mfu": model_flops / chip.flops / bounds.exposed,
            "assumptions": list(ASSUMPTIONS),
        },
        "unknown_loops": sorted(module.unknown),
        "unknown_kernels": sorted(unknown),
    }


def by_kind(found: list[Collective]) -> dict[str, dict[str, float]]:
    """{kind: {count, bytes (payload), wire_bytes, hidden_bytes (of the wire's)}}, as often as a step runs them."""
    return _summed(found, lambda one: one.kind)


def by_axis(found: list[Collective]) -> dict[str, dict[str, float]]:
    """The same by the mesh axes they span, such as "fsdp" or "data+fsdp"."""
    return _summed(found, lambda one: "+".join(one.axes) or "none")


def _summed(found, key) -> dict[str, dict[str, float]]:
    sums: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(FIELDS, 0.0))
    for one in found:
        row = sums[key(one)]
        row["count"] += one.times
        row["bytes"] += one.times * one.payload
        row["wire_bytes"] += one.times * one.wire
        row["hidden_bytes"] += one.times * one.wire * one.hidden
    return {name: sums[name] for name in sorted(sums)}


FIELDS = ("count", "bytes", "wire_bytes", "hidden_bytes")


def gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def advice(report: dict[str, Any], rows: int, remat: str) -> str:
    """One line for a program that does not fit: by how much, and which knob helps first."""
    over = report["hbm_peak_bytes"] - report["hbm_capacity_bytes"]
    mesh = report["mesh"]
    split = mesh["data"] * mesh["fsdp"]
    line = (
        f"does not fit: {gib(report['hbm_peak_bytes'])} of {gib(report['hbm_capacity_bytes'])} per chip, "
        f"{gib(over)} too much; "
    )
    if report["state_bytes"] > 0.7 * report["hbm_capacity_bytes"]:
        return line + (
            f"the state alone takes {gib(report['state_bytes'])}: raise config.mesh.fsdp (a larger slice), or set "
            "config.optimizer.moments=bfloat16"
        )
    knobs = []
    if rows > split:
        knobs.append(f"config.rows={split} (one row per chip)")
    if remat != "full":
        knobs.append("config.remat=full")
    if mesh["tensor"] == 1:
        knobs.append("config.mesh.tensor=2")
    return line + f"try {', then '.join(knobs) or 'a smaller config.row.slots, or a larger slice'}"

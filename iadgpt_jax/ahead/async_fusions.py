"""Collectives that the TPU compiler spreads over several fusions to overlap computation, and what these only pass on.

One gather then stands in the text several times under one channel_id: in the fusion that starts it, in every
computation that it overlaps, and in the fusion that awaits it. It is sent once. All of these fusions also list the
unfinished buffer among their operands and results, without reading or writing it themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from iadgpt_jax.ahead.hlo import Instruction, Module

START, DONE = "AsyncCollectiveStart", "AsyncCollectiveDone"
Local = Mapping[str, Instruction]  # the instructions of one computation by name


def started_channels(module: Module) -> frozenset[str]:
    """The channels of collectives that some fusion starts and another awaits."""
    return frozenset(
        local[name].attribute("channel_id")
        for local in module.computations.values()
        for custom in _custom_calls(local, START)
        for name in custom.operands
        if name in local and local[name].attribute("channel_id")
    )


def starts(collective: Instruction, local: Local) -> bool:
    """Whether `local` is where this collective is started, to be awaited elsewhere."""
    return any(collective.name in custom.operands for custom in _custom_calls(local, START))


def carried(local: Local) -> tuple[set[str], set[str]] | None:
    """Of a fusion that starts a collective, overlaps one or awaits it: (parameters that it only passes on,
    instructions whose results it writes). None: it does none of that."""
    parameters = {name for name, one in local.items() if one.opcode == "parameter"}
    if _custom_calls(local, DONE):
        return parameters, set()
    if begun := _custom_calls(local, START):
        return set(), {name for custom in begun for name in custom.operands}
    under_way = {name for name, one in local.items() if "async_collective_fusion_config" in one.attributes}
    root = list(local.values())[-1]
    if not under_way or root.opcode != "tuple":
        return None
    kept = {name for name in parameters if _users(name, local) <= under_way | {root.name}}
    return kept, set(root.operands) - under_way - parameters


def _users(name: str, local: Local) -> set[str]:
    return {one.name for one in local.values() if name in one.operands}


def _custom_calls(local: Local, target: str) -> list[Instruction]:
    return [
        one for one in local.values()
        if one.opcode == "custom-call" and one.attribute("custom_call_target") == f'"{target}"'
    ]  # fmt: skip

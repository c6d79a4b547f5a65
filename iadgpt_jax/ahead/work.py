"""FLOPs and memory traffic of one HLO instruction. Sums over a module are in ahead/report.py."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from iadgpt_jax.ahead.async_fusions import carried
from iadgpt_jax.ahead.hlo import Array, Instruction, Module

# Opcodes that move no bytes of main memory themselves: names for what exists, control flow (whose bodies count on their
# own) and the second halves of asynchronous operations.
FREE = frozenset(
    "parameter constant tuple get-tuple-element bitcast while conditional call after-all partition-id replica-id "
    "opt-barrier async-start call-start call-done async-done async-update all-gather-done all-reduce-done "
    "collective-permute-done copy-done slice-done send-done recv-done add-dependency domain iota".split()
)

# Matrix products of each splash attention kernel per visited tile: q·k and p·v forward; backward both kernels compute
# the logits and d(p) again, and add d(q), or d(k) and d(v).
_SPLASH = {"fwd": 2, "dq": 3, "dkv": 4}


def flops(
    instruction: Instruction, local: Mapping[str, Instruction], shares: Mapping[int, float] | None = None
) -> float:
    """FLOPs of matrix products: dots, convolutions (as which a TPU writes dots) and kernels. `local`: the instructions
    of its computation by name; shares as in `kernel_flops`."""
    if instruction.opcode == "dot":
        left = local[instruction.operands[0]].arrays[0].shape
        axes = [int(n) for n in re.findall(r"\d+", instruction.attribute("lhs_contracting_dims") or "")]
        return 2.0 * math.prod(instruction.arrays[0].shape) * math.prod(left[axis] for axis in axes)
    if instruction.opcode == "convolution":
        return _convolution(instruction, *(local[name].arrays[0].shape for name in instruction.operands[:2]))
    if instruction.opcode == "custom-call":
        return kernel_flops(instruction, local, shares) or 0.0
    return 0.0


def kernel_flops(
    call: Instruction, local: Mapping[str, Instruction], shares: Mapping[int, float] | None = None
) -> float | None:
    """FLOPs of a custom kernel by the cost estimate compiled into it; of splash attention, which has none, from its
    operands: heads, lengths and width. shares: by query length, the share of its tiles that are visited (the rest is
    passed over); default all. None: nothing tells."""
    estimate = re.search(r'"cost_estimate":\s*\{[^}]*?"flops":\s*"?([\d.e+]+)', call.attributes)
    if estimate:
        return float(estimate.group(1))
    name = re.search(r"splash_m[hq]a_(fwd|dq|dkv)", call.name + call.attributes)
    if not name:
        return None
    arrays = [array for operand in call.operands for array in local[operand].arrays[:1]]
    query, key = [array.shape for array in arrays if len(array.shape) >= 3 and "f" in array.dtype][:2]
    pairs = query[-2] * key[-2] * (shares or {}).get(query[-2], 1.0)
    return 2.0 * _SPLASH[name.group(1)] * math.prod(query[:-2]) * query[-1] * pairs


def _convolution(instruction: Instruction, left: tuple[int, ...], right: tuple[int, ...]) -> float:
    """2 · multiply-adds at positions that are neither padding nor holes of a dilation: a batched dot written as a
    convolution has one of them per batch entry."""
    inputs, kernel, outputs = re.match(r"(\w+)_(\w+)->(\w+)", instruction.attribute("dim_labels")).groups()
    result = instruction.arrays[0].shape
    window = _window(instruction.attributes)
    spatial = sorted(letter for letter in kernel if letter.isdigit())
    positions = 1.0
    for number, letter in enumerate(spatial):
        field = {key: values[number] for key, values in window.items()}
        positions *= _valid(
            left[inputs.index(letter)], right[kernel.index(letter)], result[outputs.index(letter)], field
        )
    features, groups = left[inputs.index("f")], int(instruction.attribute("feature_group_count") or 1)
    batch, split = left[inputs.index("b")], int(instruction.attribute("batch_group_count") or 1)
    return 2.0 * (features // groups) * result[outputs.index("f")] * (batch // split) * positions


def _window(attributes: str) -> dict[str, list]:
    """window={size=3x3 pad=0_0x1_1 …} -> {"size": [3, 3], "pad": [(0, 0), (1, 1)], …}."""
    match = re.search(r"window=\{([^}]*)\}", attributes)
    fields = dict(part.split("=") for part in match.group(1).split()) if match else {}
    pads = fields.pop("pad", None)
    window = {key: [int(n) for n in text.split("x")] for key, text in fields.items()}
    if pads:
        window["pad"] = [tuple(int(n) for n in pair.split("_")) for pair in pads.split("x")]
    return window


def _valid(size: int, taps: int, out: int, field: Mapping) -> int:
    """Pairs of (output position, tap) that read a real input along one dimension of a window."""
    stride, holes, spread = field.get("stride", 1), field.get("lhs_dilate", 1), field.get("rhs_dilate", 1)
    low = field.get("pad", (0, 0))[0]
    at = np.arange(out)[:, None] * stride - low + np.arange(taps)[None] * spread
    return int(((at >= 0) & (at <= (size - 1) * holes) & (at % holes == 0)).sum())


def traffic(instruction: Instruction, local: Mapping[str, Instruction], module: Module) -> float:
    """Bytes of main memory that an instruction outside of fusions reads and writes, each operand once. What lies in
    on-chip memory is free; of an operand that is only sliced the slices count, of a result updated in place the update.
    Buffers of a collective in flight count where it starts, not where they are passed on.
    """
    if instruction.opcode in FREE:
        return 0.0
    operands = [local[name] for name in instruction.operands if name in local]
    if instruction.opcode in ("dynamic-slice", "gather", "slice"):
        return 2.0 * _main(instruction)
    if instruction.opcode == "dynamic-update-slice":
        return 2.0 * _main(operands[1])
    if instruction.opcode == "slice-start":  # its result: ((what is sliced), the slice, …)
        whole, part = instruction.arrays[:2]
        return float((part.bytes if whole.space == 0 else 0) + _bytes(part))
    reads, writes = [_main(operand) for operand in operands], _main(instruction)
    if instruction.opcode == "fusion":
        inner = module.computations[instruction.called[0]]
        parameters = sorted((i for i in inner.values() if i.opcode == "parameter"), key=_number)
        kept = set()
        if under_way := carried(inner):
            kept, written = under_way
            writes = sum(_main(inner[name]) for name in written)
        for place, parameter in enumerate(parameters[: len(reads)]):
            if parameter.name in kept:
                reads[place] = 0.0
                continue
            users = [i for i in inner.values() if parameter.name in i.operands]
            ways = {user.opcode if user.operands[0] == parameter.name else "index" for user in users}
            if users and ways <= {"dynamic-slice", "gather"}:
                reads[place] = min(reads[place], sum(_main(user) for user in users))
            elif ways == {"dynamic-update-slice"}:
                updates = sum(_main(inner[user.operands[1]]) for user in users)
                writes = max(writes - reads[place], 0.0) + updates
                reads[place] = 0.0
    elif instruction.opcode.endswith("-start"):  # its operands stand among its results
        writes = max(writes - sum(reads), 0.0)
    return sum(reads) + writes


def _number(parameter: Instruction) -> int:
    digits = re.findall(r"\d+", parameter.attributes) or re.findall(r"\d+", parameter.name)
    return int(digits[0]) if digits else 0


def _main(instruction: Instruction) -> float:
    return float(sum(_bytes(array) for array in instruction.arrays))


def _bytes(array: Array) -> int:
    return array.bytes if array.space == 0 else 0

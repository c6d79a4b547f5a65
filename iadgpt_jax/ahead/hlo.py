"""Optimized HLO as text -> instructions, each with how often it runs.

XLA's own cost analysis counts the body of a loop once; here the known trip counts multiply. The text is what
`compiled.as_text()` prints: one instruction a line, computations as blocks, the entry marked ENTRY.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

BITS = {"pred": 8, "token": 0, "opaque": 0}  # others carry their width in their name: bf16, f8e4m3fn, s4, u32, c64

_ARRAY = re.compile(r"([a-z]+\d*[a-z0-9]*)\[([\d,<=]*)\](\{[^{}]*\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_CALLS = re.compile(r"(?:calls|to_apply|body|condition|called_computations|branch_computations|true_computation|"
                    r"false_computation)=(\{[^}]*\}|%?[\w.\-]+)")  # fmt: skip
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Array(NamedTuple):
    """One array of a type: dtype name, dimensions, and the memory space of its layout (0: main memory)."""

    dtype: str
    shape: tuple[int, ...]
    space: int = 0

    @property
    def bytes(self) -> int:
        bits = BITS.get(self.dtype)
        if bits is None:
            bits = int(re.search(r"\d+", self.dtype).group())
        return -(-math.prod(self.shape) * bits // 8)


@dataclass(frozen=True)
class Instruction:
    """name = type opcode(operands), attributes. `operands` are names of the same computation."""

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str

    @cached_property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays of its result, tuples flattened."""
        return tuple(_array(match) for match in _ARRAY.finditer(self.type))

    @property
    def bytes(self) -> int:
        return sum(array.bytes for array in self.arrays)

    @property
    def called(self) -> tuple[str, ...]:
        """Names of the computations it runs."""
        found = (re.findall(r"[\w.\-]+", match) for match in _CALLS.findall(self.attributes))
        return tuple(name for names in found for name in names)

    @property
    def trips(self) -> int | None:
        """How often the body of a while turns, if the compiler knows."""
        match = _TRIPS.search(self.attributes)
        return int(match.group(1)) if match else None

    def attribute(self, name: str) -> str | None:
        match = re.search(rf"\b{name}=(\{{[^}}]*\}}|[^,\s]+)", self.attributes)
        return match.group(1) if match else None


def _array(match: re.Match) -> Array:
    space = re.search(r"S\((\d+)\)", match.group(3) or "")
    shape = tuple(int(size.lstrip("<=")) for size in match.group(2).split(",") if size)
    return Array(match.group(1), shape, int(space.group(1)) if space else 0)


class Use(NamedTuple):
    """An instruction where it runs: how often, whether inside a fusion (where nothing reaches memory), and whether it
    is started in one place and awaited in another."""

    instruction: Instruction
    times: float
    fused: bool
    asynchronous: bool
    computation: str


@dataclass
class Module:
    """Computations by name, in order; `entry` is where it starts. `unknown`: loops whose trips nothing tells, once."""

    entry: str
    computations: dict[str, dict[str, Instruction]]
    unknown: set[str] = field(default_factory=set)

    def uses(self) -> Iterator[Use]:
        """Every instruction that runs, loops multiplied out; of a conditional every branch."""
        yield from self._uses(self.entry, 1.0, False, False)

    def _uses(self, computation: str, times: float, fused: bool, asynchronous: bool) -> Iterator[Use]:
        for instruction in self.computations[computation].values():
            yield Use(instruction, times, fused, asynchronous, computation)
            if instruction.opcode in ("reduce", "map", "sort", "scatter", "select-and-scatter", "reduce-window"):
                continue  # they call scalar functions
            turns = 1
            if instruction.opcode == "while":
                turns = instruction.trips or self._counted(instruction)
            for called in instruction.called:
                if called in self.computations and not _scalar_reducer(instruction):
                    apart = asynchronous or instruction.opcode == "async-start"
                    yield from self._uses(called, times * turns, fused or instruction.opcode == "fusion", apart)

    def _counted(self, loop: Instruction) -> int:
        """Trips of a loop by the constant its condition compares with; 1, and noted, where there is none."""
        condition = re.search(r"condition=%?([\w.\-]+)", loop.attributes).group(1)
        constants = [
            int(match.group(1))
            for instruction in self.computations[condition].values()
            if instruction.opcode == "constant" and (match := re.match(r"(\d+)\)?", instruction.attributes))
        ]
        if len(constants) == 1:
            return constants[0]
        self.unknown.add(loop.name)
        return 1


def _scalar_reducer(instruction: Instruction) -> bool:
    return instruction.opcode.startswith(("all-reduce", "reduce-scatter"))


def parse(text: str) -> Module:
    """A module from its text.

    Raises:
      ValueError: it holds no entry computation.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = None, None
    for line in text.splitlines():
        if current is None:
            if head := _HEAD.match(line):
                current = computations.setdefault(head.group(2), {})
                entry = head.group(2) if head.group(1) else entry
        elif line.startswith("}"):
            current = None
        elif match := _LINE.match(line):
            instruction = _instruction(match.group(1), match.group(2))
            current[instruction.name] = instruction
    if entry is None:
        raise ValueError("no ENTRY computation: this is not the text of an HLO module")
    return Module(entry, computations)


def _instruction(name: str, rest: str) -> Instruction:
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    type_, rest = rest[:end], rest[end:].lstrip()
    opcode, _, rest = rest.partition("(")
    close = _closing("(" + rest, 0) - 1
    inside, attributes = rest[:close], rest[close + 1 :]
    if opcode == "constant":
        return Instruction(name, type_, opcode, (), inside)
    names = re.findall(r"%([\w.\-]+)", inside)
    if not names and inside:  # printed without percent signs
        names = [part.split()[-1] for part in _split(inside)]
    return Instruction(name, type_, opcode, tuple(names), attributes)


def _split(text: str) -> list[str]:
    """At commas outside of any brackets."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append(text[start:at])
            start = at + 1
    return [part for part in (*parts, text[start:]) if part.strip()]


def _closing(text: str, start: int) -> int:
    """Index of the parenthesis that closes the one at `start`."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if not depth:
            return at
    raise ValueError(f"unbalanced parentheses in {text[:80]!r}")

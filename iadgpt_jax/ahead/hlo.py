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
_END = re.compile(r'^\}(, execution_thread="\w+")?\s*$')  # of what a SparseCore runs, for example
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ([(a-z].*)$")
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
        """Iterations of a while loop, if the compiler knows them."""
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
    """Computations by name, in order; `entry` is where it starts. `unknown`: loops of which nothing tells the number of
    iterations; they count once."""

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
            iterations = 1
            if instruction.opcode == "while":
                iterations = instruction.trips or self._counted(instruction, computation)
            for called in instruction.called:
                if called in self.computations and not _scalar_reducer(instruction):
                    apart = asynchronous or instruction.opcode in ("async-start", "call-start")
                    yield from self._uses(called, times * iterations, fused or instruction.opcode == "fusion", apart)

    def _counted(self, loop: Instruction, computation: str) -> int:
        """Iterations of a loop `for (i = first; i < end; i += step)`, its numbers followed to constants. Where
        they lead to none it counts as 1 and goes into `unknown`."""
        condition, body = loop.called
        test = list(self.computations[condition].values())[-1]
        variable, place = None, None
        for name in test.operands:
            if (index := self._element(condition, name)) is not None:
                variable, place = name, index
        if test.opcode == "compare" and variable is not None and "direction=LT" in test.attributes:
            end = self._constant(condition, next(name for name in test.operands if name != variable))
            first = self._constant(computation, self._operand_of_tuple(computation, loop.operands[0], place))
            step = self._step(body, place)
            if None not in (end, first, step) and step > 0:
                return max(-(-(end - first) // step), 0)
        self.unknown.add(loop.name)
        return 1

    def _element(self, computation: str, name: str) -> int | None:
        """i, if this is element i of the computation's parameter."""
        one = self.computations[computation].get(name)
        while one is not None and one.opcode in ("copy", "bitcast"):
            one = self.computations[computation].get(one.operands[0])
        if one is None or one.opcode != "get-tuple-element":
            return None
        source = self.computations[computation].get(one.operands[0])
        return int(one.attribute("index")) if source is not None and source.opcode == "parameter" else None

    def _operand_of_tuple(self, computation: str, name: str, place: int) -> str | None:
        one = self.computations[computation].get(name)
        return one.operands[place] if one is not None and one.opcode == "tuple" else None

    def _step(self, body: str, place: int) -> int | None:
        """What an iteration of the body adds to element `place` of what it carries."""
        local = self.computations[body]
        root = list(local.values())[-1]
        update = local.get(root.operands[place]) if root.opcode == "tuple" else None
        while update is not None and update.opcode in ("copy", "bitcast"):
            update = local.get(update.operands[0])
        if update is None or update.opcode not in ("add", "fusion"):
            return None
        others = [name for name in update.operands if self._element(body, name) != place]
        return self._constant(body, others[0]) if len(others) == 1 else None

    def _constant(self, computation: str, name: str | None) -> int | None:
        """The integer that an operand is, also where loops carry it along."""
        one = self.computations[computation].get(name)
        while one is not None and one.opcode in ("copy", "bitcast", "convert"):
            one = self.computations[computation].get(one.operands[0])
        if one is None:
            return None
        if one.opcode == "constant":
            return int(one.attributes) if one.attributes.lstrip("-").isdigit() else None
        place = self._element(computation, one.name)
        if place is None or computation not in self._loops:
            return None
        outside, loop = self._loops[computation]
        return self._constant(outside, self._operand_of_tuple(outside, loop.operands[0], place))

    @cached_property
    def _loops(self) -> dict[str, tuple[str, Instruction]]:
        """Body or condition of a loop -> where the loop stands."""
        return {
            called: (computation, one)
            for computation, local in self.computations.items()
            for one in local.values()
            if one.opcode == "while"
            for called in one.called
        }


def _scalar_reducer(instruction: Instruction) -> bool:
    return instruction.opcode.startswith(("all-reduce", "reduce-scatter"))


def parse(text: str) -> Module:
    """A module from its text.

    Raises:
      ValueError: it holds no entry computation.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, lines = None, []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            name, lines = head.group(2), []
            entry = name if head.group(1) else entry
        elif _END.match(line):
            matches = (_LINE.match(one) for one in lines)
            computations[name] = {m.group(1): _instruction(m.group(1), m.group(2)) for m in matches}
        elif _LINE.match(line):
            lines.append(line)
        elif lines:  # an attribute that holds line breaks goes on
            lines[-1] += line
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
        return Instruction(name, type_, opcode, (), inside)  # its value takes the place of attributes
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

"""How one tensor lies in a Hugging Face file and in our tree: axes named once, read in both directions.

Axes are written like `"(heads head) embed -> embed heads head"`: left of the arrow the axes of the Hugging Face
tensor, right ours; parentheses bundle several named axes into one stored axis.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Axes:
    """One tensor's axes on both sides. `sizes` gives the length of every named axis."""

    theirs: tuple[tuple[str, ...], ...]
    ours: tuple[tuple[str, ...], ...]
    sizes: Mapping[str, int]

    @classmethod
    def parse(cls, text: str, sizes: Mapping[str, int]) -> Axes:
        theirs, ours = (
            tuple(tuple(axis.strip("()").split()) for axis in re.findall(r"\([^)]*\)|\S+", side))
            for side in text.split("->")
        )
        return cls(theirs, ours, sizes)

    @property
    def hf_shape(self) -> tuple[int, ...]:
        return self._shape(self.theirs)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape(self.ours)

    def from_hf(self, array: np.ndarray) -> np.ndarray:
        """Our form of a whole Hugging Face tensor."""
        return self._rearrange(array, self.theirs, self.ours, self.shape)

    def to_hf(self, array: np.ndarray) -> np.ndarray:
        """The Hugging Face form of our tensor: the inverse of `from_hf`."""
        return self._rearrange(array, self.ours, self.theirs, self.hf_shape)

    def read(self, source, index: tuple[slice, ...]) -> np.ndarray:
        """Our form of `source` at `index`, one slice per axis of ours, reading no more of the file than that needs.

        source: anything sliced by a tuple of slices like the Hugging Face tensor (an array, a safetensors slice).
        """
        within = {}  # the stretch of each named axis to read; a bundle on our side is read whole and cut at the end
        cut = []
        for names, part in zip(self.ours, index, strict=True):
            length = math.prod(self.sizes[name] for name in names)
            start, stop, step = part.indices(length)
            if step != 1:
                raise ValueError(f"axes are read in contiguous slices, not {part}")
            if len(names) == 1:
                within[names[0]] = range(start, stop)
                cut.append(slice(None))
            else:
                within.update({name: range(self.sizes[name]) for name in names})
                cut.append(slice(start, stop))
        stretches = [self._stretches(names, within) for names in self.theirs]
        shape = tuple(sum(stop - start for start, stop in axis) for axis in stretches)
        out = None
        for parts in itertools.product(*(_with_offsets(axis) for axis in stretches)):
            values = source[tuple(slice(start, stop) for (start, stop), _ in parts)]
            if out is None:
                if values.shape == shape:
                    out = values
                    break
                out = np.empty(shape, values.dtype)
            out[tuple(slice(at, at + stop - start) for (start, stop), at in parts)] = values
        read = Axes(self.theirs, self.ours, {name: len(span) for name, span in within.items()})
        return read.from_hf(out)[tuple(cut)]

    def write(self, target: np.ndarray, index: tuple[slice, ...], values: np.ndarray) -> None:
        """Put `values`, our form at `index`, where they belong in the Hugging Face tensor `target`: `read` reversed.

        Values are cast to the target's dtype. An axis of ours that bundles several must be covered whole.
        """
        within = {}
        for names, part in zip(self.ours, index, strict=True):
            length = math.prod(self.sizes[name] for name in names)
            span = range(*part.indices(length))
            if span.step != 1 or (len(names) > 1 and len(span) < length):
                raise ValueError(f"axes are written in contiguous slices and whole bundles, not {part} of {names}")
            within.update({names[0]: span} if len(names) == 1 else {name: range(self.sizes[name]) for name in names})
        given = Axes(self.theirs, self.ours, {name: len(span) for name, span in within.items()})
        part = given.to_hf(values.astype(target.dtype, copy=False))
        stretches = [self._stretches(names, within) for names in self.theirs]
        for parts in itertools.product(*(_with_offsets(axis) for axis in stretches)):
            there = tuple(slice(start, stop) for (start, stop), _ in parts)
            here = tuple(slice(at, at + stop - start) for (start, stop), at in parts)
            copy_into(target[there], part[here])

    def _stretches(self, names: tuple[str, ...], within: Mapping[str, range]) -> list[tuple[int, int]]:
        """Contiguous (start, stop) of one stored axis that together hold `within` of its named axes, in order."""
        name, *rest = names
        span = within[name]
        inner = math.prod(self.sizes[other] for other in rest)
        if all(len(within[other]) == self.sizes[other] for other in rest):
            return [(span.start * inner, span.stop * inner)]
        below = self._stretches(tuple(rest), within)
        return [(at * inner + start, at * inner + stop) for at in span for start, stop in below]

    def _shape(self, side) -> tuple[int, ...]:
        return tuple(math.prod(self.sizes[name] for name in axis) for axis in side)

    def _rearrange(self, array, before, after, shape):
        flat_before, flat_after = list(itertools.chain(*before)), list(itertools.chain(*after))
        split = array.reshape([self.sizes[name] for name in flat_before])
        return split.transpose([flat_before.index(name) for name in flat_after]).reshape(shape)


RUN, ACROSS = 256, 64  # elements along the source's runs and across them: two such blocks fit the cache


def copy_into(target: np.ndarray, values: np.ndarray) -> None:
    """target[...] = values. A transposed view is copied in blocks, several times faster than numpy does it; where
    dtypes differ a block is cast in its own order first, since numpy casts runs fast and anything else slowly."""
    if values.dtype == target.dtype and values.dtype.itemsize == 2:
        values, target = values.view(np.uint16), target.view(np.uint16)  # numpy copies a foreign bfloat16 slowly
    strides = [abs(stride) if size > 1 else math.inf for stride, size in zip(values.strides, values.shape, strict=True)]
    if not strides or strides[-1] == min(strides):
        target[...] = values
        return
    axis = strides.index(min(strides))
    for start in range(0, values.shape[axis], RUN):
        runs = (slice(None),) * axis + (slice(start, start + RUN),)
        for column in range(0, values.shape[-1], ACROSS):
            at = (*runs, ..., slice(column, column + ACROSS))
            target[at] = values[at].astype(target.dtype, copy=False)


def _with_offsets(stretches):
    """[((start, stop), position in the output)] of consecutive stretches."""
    position = 0
    for start, stop in stretches:
        yield (start, stop), position
        position += stop - start

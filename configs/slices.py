"""What is best on a TPU slice: `configs/stage3.py:7b@v5p:2x2x4` is `:7b` with the slice's mesh, rows and remat.

The lines were found by compiling ahead of time (docs/tpu.md says how they compare). `2xv5p:2x2x4` is two such slices,
joined by the network along the mesh's data axis. A slice without a line shards everything over all of its chips.
"""

import math
import re
from typing import NamedTuple

import ml_collections

from iadgpt_jax.errors import InputError


class Fit(NamedTuple):
    """rows: per step and chip. data: copies of the parameters in a slice. tensor: chips that share a layer's heads and
    MLP. The rest of the slice is fsdp."""

    rows: int
    remat: str = "attention"
    data: int = 1
    tensor: int = 1


# (size, slice, stage); a line for stage 0 is for all stages without one of their own: 1 and 2 also train the ViT, whose
# layers keep as much again. On 64 chips fsdp stays 32: over all of a square slice the compiler sums gradients
# everywhere instead of scattering them.
FITS = {
    ("7b", "v5e:4x4", 0): Fit(1, "full"),
    ("7b", "v5e:8x8", 0): Fit(1, "attention", data=2),
    ("7b", "v5e:8x8", 3): Fit(1, "mlp", data=2),
    ("7b", "v5p:2x2x4", 0): Fit(2, "dots"),
    ("7b", "v6e:8x8", 0): Fit(2, "attention", data=2),
    ("7b", "v6e:8x8", 3): Fit(2, "mlp", data=2),
    ("7b", "tpu7x:2x2x2", 0): Fit(2, "dots"),
    ("3b", "v5e:4x4", 0): Fit(1, "attention"),
    ("3b", "v5e:4x4", 3): Fit(1, "mlp"),
    ("3b", "v5e:8x8", 0): Fit(1, "attention", data=2),
    ("3b", "v5e:8x8", 3): Fit(1, "dots", data=2),
    ("3b", "v5p:2x2x4", 0): Fit(2, "dots"),
    ("3b", "v6e:8x8", 0): Fit(2, "attention", data=2),
    ("3b", "v6e:8x8", 3): Fit(2, "mlp", data=2),
}


MOST_TENSOR = {"3b": 2, "7b": 4}  # chips may share a layer by its KV heads


def chips_of(where: str) -> int:
    """How many chips a slice has: 16 of "v5p:2x2x4", 32 of "2xv5p:2x2x4"."""
    slices, _, sizes = _parsed(where)
    return slices * math.prod(int(size) for size in sizes.split("x"))


def _parsed(where: str) -> tuple[int, str, str]:
    """(slices, kind, sizes) of a slice's name. Raises InputError where it is none."""
    match = re.fullmatch(r"(?:([1-9]\d*)x)?([a-z]\w*):([1-9]\d*(?:x[1-9]\d*)*)", where, re.ASCII)
    if not match:
        raise InputError(f"no slice {where!r}: write a size as 7b@v5p:2x2x4, or 7b@2xv5p:2x2x4 for two slices")
    return int(match.group(1) or 1), match.group(2), match.group(3)


def on_slice(c: ml_collections.ConfigDict) -> None:
    """Set mesh, rows and remat of a full-size stage for c.slice ("v5e:8x8", "2xv5p:2x2x4"); empty, it changes nothing.

    Instances grow with rows and steps shrink, so that a stage still sees its data as often; the rate grows with the
    rows' root (configs/common.py). The paper's recipe keeps its rows, rate and steps: where they are fewer than chips,
    chips share layers.
    """
    if not c.slice:
        return
    slices, kind, sizes = _parsed(c.slice)
    name = f"{kind}:{sizes}"
    chips = math.prod(int(size) for size in sizes.split("x")) * (2 if kind == "tpu7x" else 1)  # devices: two a chip
    fit = FITS.get((c.size, name, c.stage)) or FITS.get((c.size, name, 0)) or Fit(1)
    c.remat = fit.remat
    if c.recipe == "paper":
        _few_rows(c, slices, chips)
        return
    c.mesh.data, c.mesh.fsdp, c.mesh.tensor = slices * fit.data, chips // fit.data // fit.tensor, fit.tensor
    rows = fit.rows * chips * slices // fit.tensor
    c.optimizer.rate = float(f"{c.optimizer.rate * math.sqrt(rows / c.rows):.2g}")
    c.instances, c.steps = c.instances * rows // c.rows, max(round(c.steps * c.rows / rows), 1)
    c.rows = rows


def _spreading(c: ml_collections.ConfigDict) -> list[int]:
    """How many chips c.rows spread over."""
    whole = [chips for chips in range(1, c.rows + 1) if c.rows % chips == 0]
    return sorted({chips * tensor for chips in whole for tensor in (1, 2, 4) if tensor <= MOST_TENSOR[c.size]})


def _few_rows(c: ml_collections.ConfigDict, slices: int, chips: int) -> None:
    """Spread c.rows, as they are, over all chips."""
    for tensor in (1, 2, 4):
        if tensor <= MOST_TENSOR[c.size] and chips % tensor == 0 and c.rows % (slices * chips // tensor) == 0:
            c.mesh.data, c.mesh.fsdp, c.mesh.tensor = slices, chips // tensor, tensor
            return
    raise InputError(
        f"the paper's batch of {c.rows} rows does not spread over {slices * chips} chips: choose a slice of "
        f"{', '.join(map(str, _spreading(c)))} chips, or {c.size}@{c.slice} with its own batch and rate"
    )

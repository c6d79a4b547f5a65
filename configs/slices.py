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
    """rows: per step and chip. tensor: chips that share a layer's heads and MLP; the rest of the slice is fsdp."""

    rows: int
    tensor: int = 1
    remat: str = "attention"


# (size, slice, stage); a line for stage 0 is for all stages without one of their own.
FITS = {
    ("7b", "v5e:4x4", 0): Fit(1, remat="full"),
    ("7b", "v5e:8x8", 0): Fit(1, remat="mlp"),
    ("7b", "v5p:2x2x4", 0): Fit(2, remat="dots"),
    ("7b", "v6e:8x8", 0): Fit(2, remat="mlp"),
    ("7b", "tpu7x:2x2x2", 0): Fit(2, remat="dots"),
    ("3b", "v5e:4x4", 0): Fit(1, remat="mlp"),
    ("3b", "v5e:8x8", 0): Fit(1, remat="mlp"),
    ("3b", "v5p:2x2x4", 0): Fit(2, remat="dots"),
    ("3b", "v6e:8x8", 0): Fit(2, remat="mlp"),
}


def on_slice(c: ml_collections.ConfigDict) -> None:
    """Set mesh, rows and remat of a full-size stage for c.slice ("v5e:8x8", "2xv5p:2x2x4"); empty, it changes nothing.

    Instances grow with rows and steps shrink, so that a stage still sees its data as often.
    """
    if not c.slice:
        return
    match = re.fullmatch(r"(?:(\d+)x)?([a-z]\w*):(\d+(?:x\d+)*)", c.slice)
    if not match:
        raise InputError(f"no slice {c.slice!r}: write a size as 7b@v5p:2x2x4, or 7b@2xv5p:2x2x4 for two slices")
    slices, kind, sizes = int(match.group(1) or 1), match.group(2), match.group(3)
    name = f"{kind}:{sizes}"
    chips = math.prod(int(size) for size in sizes.split("x")) * (2 if kind == "tpu7x" else 1)  # devices: two a chip
    fit = FITS.get((c.size, name, c.stage)) or FITS.get((c.size, name, 0)) or Fit(1)
    c.mesh.data, c.mesh.fsdp, c.mesh.tensor = slices, chips // fit.tensor, fit.tensor
    c.remat = fit.remat
    rows = fit.rows * chips * slices // fit.tensor
    c.instances, c.steps = c.instances * rows // c.rows, max(round(c.steps * c.rows / rows), 1)
    c.rows = rows

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
    c.mesh.data, c.mesh.fsdp, c.mesh.tensor = slices * fit.data, chips // fit.data // fit.tensor, fit.tensor
    c.remat = fit.remat
    rows = fit.rows * chips * slices // fit.tensor
    c.instances, c.steps = c.instances * rows // c.rows, max(round(c.steps * c.rows / rows), 1)
    c.rows = rows

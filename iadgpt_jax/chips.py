"""Published figures of the accelerators JAX runs on: peak rate, memory, bandwidths.

Training logs and ahead-of-time reports divide by them. Figures are dense bfloat16, per JAX device; a TPU 7x chip
shows up as two devices, each with half of the chip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One JAX device. flops per second in bfloat16; bandwidths in bytes per second; hbm in bytes; of a TPU
    what its compiler may use, a little less than the chip has.

    link: one direction of one inter-chip link (GPU: of all of NVLink). torus: mesh dimensions of the interconnect,
    each with two links. network: a device's share of the data-center network between slices.
    """

    name: str
    pattern: str  # of jax.Device.device_kind
    flops: float
    hbm: int
    hbm_bandwidth: float
    link: float
    torus: int
    network: float = 6.25e9


# Sources: the system architecture pages of Google Cloud TPU (v5e, v5p, v6e, TPU7x), NVIDIA's data sheets (SXM parts;
# the PCIe H100 apart), and per-link and network rates of "How to scale your model" (jax-ml.github.io/scaling-book).
CHIPS = (
    Chip("v5e", r"^TPU v5 ?(lite|e)", 197e12, int(15.75 * GIB), 8.19e11, 4.5e10, 2, 3.125e9),
    Chip("v5p", r"^TPU v5p?$", 459e12, int(95.74 * GIB), 2.765e12, 9e10, 3),
    Chip("v6e", r"^TPU v6 ?(lite|e)", 918e12, int(31.25 * GIB), 1.64e12, 9e10, 2, 1.25e10),
    Chip("7x", r"^TPU ?v?7", 2307e12 / 2, int(94.75 * GIB), 7.37e12 / 2, 1e11, 3, 1.25e10),
    Chip("H100 PCIe", r"H100.*PCIe", 756e12, 80 * GIB, 2.0e12, 3e11, 1, 5e10),
    Chip("H200", r"H200", 989e12, 141 * 10**9, 4.8e12, 4.5e11, 1, 5e10),
    Chip("H100", r"H100", 989e12, 80 * GIB, 3.35e12, 4.5e11, 1, 5e10),
    Chip("A100", r"A100", 312e12, 80 * GIB, 2.0e12, 3e11, 1, 2.5e10),
)


def find_chip(device_kind: str) -> Chip | None:
    """The chip behind jax.Device.device_kind, or None if it is not in this table, such as a CPU."""
    return next((chip for chip in CHIPS if re.search(chip.pattern, device_kind)), None)

"""Keeps XLA from handing sums to a CPU library that gets some of them wrong.

jaxlib 0.10.2, and by public reports 0.11, hands reductions on a CPU to YNNPACK. Where what is summed was broadcast
before, several threads then add into one place without waiting for each other: the squares of a [2, 588, 32] array of
two equal halves, as the norm of a gradient of the patch embedding sums them, came out half too large in most calls.
XLA's own reductions are right, and as fast here; the library's matrix products are right and stay.
"""

from __future__ import annotations

import os
import sys
import warnings

FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def use_own_reductions() -> None:
    """Say so in XLA_FLAGS, which XLA reads once, when JAX is first used; what the user set there stays.

    Warns:
      RuntimeWarning: JAX was used before, so it is too late.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if FLAG in flags:
        return
    os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=-REDUCE".strip()
    bridge = sys.modules.get("jax._src.xla_bridge")  # there is no public way to ask
    started = getattr(bridge, "backends_are_initialized", None)
    if started is not None and started():
        warnings.warn(
            "JAX was used before iadgpt_jax was imported, so XLA keeps reductions on a CPU that can be wrong: "
            f"import iadgpt_jax first, or start with XLA_FLAGS={FLAG}=-REDUCE",
            RuntimeWarning,
            stacklevel=3,
        )

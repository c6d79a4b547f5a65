"""Keeps XLA from handing reductions to a CPU library that gets some of them wrong.

jaxlib 0.10.2, and by public reports 0.11, hands reductions on a CPU to YNNPACK. When the summed array was broadcast
before, several threads add into the same element without synchronisation. The sum of squares of a [2, 588, 32] array
with two equal halves, as in the norm of the patch embedding's gradient, came out 50 % too large in most calls.
XLA's own reductions are right, and as fast here. YNNPACK's matrix products are right and stay on.
"""

from __future__ import annotations

import os
import sys
import warnings

FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def use_own_reductions() -> None:
    """Set the flag in XLA_FLAGS, which XLA reads once, when JAX is first used. A value the user has set stays.

    Warns:
      RuntimeWarning: JAX has been used already, so the flag has no effect.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if FLAG in flags:
        return
    os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=-REDUCE".strip()
    bridge = sys.modules.get("jax._src.xla_bridge")  # there is no public way to ask
    started = getattr(bridge, "backends_are_initialized", None)
    if started is not None and started():
        warnings.warn(
            "JAX was used before iadgpt_jax was imported, so XLA goes on using CPU reductions that can be wrong: "
            f"import iadgpt_jax first, or start with XLA_FLAGS={FLAG}=-REDUCE",
            RuntimeWarning,
            stacklevel=3,
        )

"""IADGPT in JAX: few-shot industrial anomaly detection, localization and reasoning with Qwen2.5-VL.

    from iadgpt_jax import Inspector
    inspector = Inspector.load(checkpoint)
    result = inspector.inspect(query, references=[reference])   # result.score, result.map, result.answer

Importing the package costs nothing: `Inspector` and, with it, JAX are loaded on first use. Import it before JAX is
used: it keeps XLA from reductions that are wrong on CPUs (`iadgpt_jax.cpu_reductions`), and JAX from looking for a TPU
where there is none (`iadgpt_jax.platforms`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iadgpt_jax.cpu_reductions import use_own_reductions
from iadgpt_jax.platforms import look_for_no_tpu

if TYPE_CHECKING:
    from iadgpt_jax.infer.inspector import Inspector

__version__ = "0.1.0"
__all__ = ["Inspector", "__version__"]

use_own_reductions()
look_for_no_tpu()


def __getattr__(name: str) -> object:
    if name == "Inspector":
        from iadgpt_jax.infer.inspector import Inspector

        return Inspector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Keeps JAX from looking for a TPU on machines that have none.

The TPU compiler (libtpu) is installed beside JAX to compile ahead of time. JAX then tries for a TPU first, and libtpu
complains at length on standard error before JAX goes on without.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping

TPU_FILES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
_TPU_VARIABLES = ("TPU_WORKER_HOSTNAMES", "TPU_WORKER_ID", "TPU_PROCESS_ADDRESSES", "JAX_FORCE_TPU_INIT")
_GPU_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")  # as JAX itself looks for them
_CUDA = ("jax_cuda12_plugin", "jax_cuda13_plugin")
_OTHER_FILES = ("/dev/kfd",)  # an AMD GPU


def look_for_no_tpu() -> None:
    """Tell JAX which platforms to try, if the user did not and there is certainly no TPU. JAX may be imported already,
    but not used."""
    chosen = without_tpu(os.environ, _installed, lambda pattern: bool(glob.glob(pattern)))
    if chosen is None:
        return
    os.environ["JAX_PLATFORMS"] = chosen  # for JAX imported later, and for processes started from here
    if (jax := sys.modules.get("jax")) is not None and not jax.config.jax_platforms:
        jax.config.update("jax_platforms", chosen)


def without_tpu(
    environment: Mapping[str, str], installed: Callable[[str], bool], exists: Callable[[str], bool]
) -> str | None:
    """What JAX should try, as JAX_PLATFORMS writes it; None: let it choose by itself.

    installed: whether there is a module of this name; exists: whether there is a file of this pattern.
    """
    if "JAX_PLATFORMS" in environment or not installed("libtpu"):
        return None
    if any(name in environment for name in _TPU_VARIABLES) or any(map(exists, (*TPU_FILES, *_OTHER_FILES))):
        return None
    if not any(map(exists, _GPU_FILES)):
        return "cpu"
    return "cuda,cpu" if any(map(installed, _CUDA)) else None


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None

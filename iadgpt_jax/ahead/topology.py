"""TPU slices on a machine without TPUs: libtpu describes their devices and compiles for them.

Call `use_tpu_compiler` before anything imports jax. "v5p:2x2x4" is a slice of 16 chips; a TPU 7x chip is two devices.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from iadgpt_jax.errors import InputError

if TYPE_CHECKING:
    import jax


def use_tpu_compiler() -> None:
    """Set the environment in which libtpu compiles without looking for a TPU, and JAX itself runs on the CPU.

    Raises:
      RuntimeError: jax has been imported already, and has read its environment.
    """
    if "jax" in sys.modules and os.environ.get("JAX_PLATFORMS") != "cpu":
        raise RuntimeError("iadgpt_jax.ahead.topology.use_tpu_compiler() must run before jax is imported")
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # there is no cloud metadata server
    os.environ["TPU_WORKER_HOSTNAMES"] = "localhost"
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5p-32")  # any known type: the topology's name decides
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no TPU, so two processes cannot both want it
    os.environ.setdefault("TPU_LOG_DIR", "disabled")
    os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def slice_devices(topology: str, slices: int = 1) -> Sequence[jax.Device]:
    """The devices of a topology such as "v5e:4x4", "v5p:2x2x4", "v6e:8x8" or "tpu7x:2x2x2", of several slices in turn.

    Raises:
      InputError: libtpu is missing, or knows no such topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise InputError("compiling for a TPU topology needs libtpu: pip install libtpu")
    from jax.experimental import topologies

    if not re.fullmatch(r"[a-z0-9]+:\d+x\d+(x\d+)?", topology):
        raise InputError(f"--topology={topology!r} is not of the form v5e:4x4, v5p:2x2x4 or tpu7x:2x2x2")
    several = {"num_slices": slices} if slices > 1 else {}
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology, **several).devices
    except Exception as error:  # libtpu raises different types, by its C++ status
        reason = str(error).strip().splitlines()[0][:160]
        raise InputError(f"libtpu knows no topology {topology!r} ({reason}): choose another --topology") from error

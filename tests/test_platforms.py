"""A machine without a TPU may have the TPU compiler installed: no script says a word about it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from iadgpt_jax.platforms import without_tpu

ALONE = {name: value for name, value in os.environ.items() if name not in ("JAX_PLATFORMS", "XLA_FLAGS")}


@pytest.mark.parametrize("imports", ["import iadgpt_jax, jax", "import jax, iadgpt_jax"])
def test_a_script_without_a_tpu_is_silent(imports):
    """Whichever of the two is imported first; what the user asked for still holds in both."""
    code = f"{imports}; print(jax.devices()[0].platform)"
    done = subprocess.run([sys.executable, "-c", code], env=ALONE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.strip() in ("cpu", "gpu", "tpu")


@pytest.mark.parametrize(
    ("environment", "installed", "files", "chosen"),
    [
        ({}, {"libtpu"}, set(), "cpu"),
        ({}, {"libtpu", "jax_cuda13_plugin"}, {"/dev/nvidia0"}, "cuda,cpu"),
        ({}, {"libtpu", "jax_cuda12_plugin"}, {"/dev/nvidiactl"}, "cuda,cpu"),
        ({}, {"libtpu", "jax_cuda13_plugin"}, set(), "cpu"),
        ({}, {"libtpu"}, {"/dev/nvidia0"}, None),  # JAX says itself that it was not built for this GPU
        ({}, {"libtpu"}, {"/dev/accel0"}, None),
        ({}, {"libtpu"}, {"/dev/vfio/0"}, None),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, {"libtpu"}, set(), None),
        ({"JAX_FORCE_TPU_INIT": "1"}, {"libtpu"}, set(), None),
        ({"JAX_PLATFORMS": ""}, {"libtpu"}, set(), None),
        ({"JAX_PLATFORMS": "tpu"}, {"libtpu"}, set(), None),
        ({}, {"libtpu", "jax_rocm7_plugin"}, {"/dev/kfd"}, None),
        ({}, set(), set(), None),
    ],
)
def test_what_jax_tries(environment, installed, files, chosen):
    """None: JAX chooses by itself. Only where there is certainly no TPU is it kept from looking for one."""
    assert without_tpu(environment, installed.__contains__, lambda pattern: any(map(matcher(pattern), files))) == chosen


def matcher(pattern):
    import fnmatch

    return lambda path: fnmatch.fnmatch(path, pattern)

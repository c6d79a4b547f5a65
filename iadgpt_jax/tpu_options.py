"""How the TPU compiler is told to lay collectives beside computation.

Chosen by what ahead-of-time reports of the shipped steps show (docs/tpu.md); each chip generation needs others.
"""

from __future__ import annotations

from jax.sharding import Mesh

from iadgpt_jax.chips import find_chip

# Gather a layer's weights whole, ahead of time, instead of multiplying shard by shard as they arrive ("windowed
# einsum"): shard by shard every partial product is read and written again, and compiling takes twice as long.
_WHOLE = {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"}

# Gathers run in pieces inside the matrix products before them; the v5e's compiler does so by default.
_GATHERS_BESIDE = {
    "xla_enable_async_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
    "xla_tpu_overlap_compute_collective_tc": "true",
}
# The same for sums of gradients. On a square slice that fsdp covers whole nothing scatters them: they stay all-reduces.
_SUMS_BESIDE = {"xla_enable_async_all_reduce": "true", "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": "true"}
# SparseCores, where a chip has them, sum and scatter gradients while the TensorCores compute.
_SPARSE_CORE_SUMS = {
    "xla_tpu_enable_sparse_core_collective_offload_all_reduce": "true",
    "xla_tpu_enable_sparse_core_collective_offload_reduce_scatter": "true",
}
_SPARSE_CORE_GATHERS = {
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "false",
    "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": "false",
    "xla_tpu_enable_async_collective_fusion_fuse_reduce_scatter": "false",
    "xla_tpu_enable_sparse_core_collective_offload_all_gather": "true",
}

OPTIONS = {
    "v5e": _WHOLE | _SUMS_BESIDE,
    "v5p": _WHOLE | _GATHERS_BESIDE | _SPARSE_CORE_SUMS,
    "v6e": _WHOLE | _SPARSE_CORE_SUMS | _SPARSE_CORE_GATHERS,
    "7x": _WHOLE,  # its compiler uses SparseCores by default
}


def compiler_options(mesh: Mesh) -> dict[str, str] | None:
    """What to pass to jax.jit for functions on this mesh; None where it has no TPUs, or unknown ones."""
    device = mesh.devices.flat[0]
    chip = find_chip(device.device_kind)
    return OPTIONS.get(chip.name) if device.platform == "tpu" and chip else None

"""Options that make the TPU compiler overlap collectives with computation.

Chosen by the ahead-of-time reports of the shipped steps (docs/tpu.md); each chip generation needs others.
"""

from __future__ import annotations

from jax.sharding import Mesh

from iadgpt_jax.chips import find_chip

# Gather a layer's weights whole, ahead of time, instead of multiplying shard by shard as they arrive ("windowed
# einsum"): shard by shard every partial product is read and written again, and compiling takes twice as long.
_GATHER_WHOLE = {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"}

# Gathers run in pieces inside the matrix products before them; the v5e's compiler does so by default.
_OVERLAP_GATHERS = {
    "xla_enable_async_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
    "xla_tpu_overlap_compute_collective_tc": "true",
}
# The same for sums of gradients. On a square slice that fsdp covers whole there is no reduce-scatter, only all-reduces.
_OVERLAP_ALL_REDUCES = {
    "xla_enable_async_all_reduce": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": "true",
}
# SparseCores, where a chip has them, all-reduce and reduce-scatter gradients while the TensorCores compute.
_SPARSE_CORE_REDUCES = {
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
    "v5e": _GATHER_WHOLE | _OVERLAP_ALL_REDUCES,
    "v5p": _GATHER_WHOLE | _OVERLAP_GATHERS | _SPARSE_CORE_REDUCES,
    "v6e": _GATHER_WHOLE | _SPARSE_CORE_REDUCES | _SPARSE_CORE_GATHERS,
    "7x": _GATHER_WHOLE,  # its compiler uses SparseCores by default
}


def compiler_options(mesh: Mesh) -> dict[str, str] | None:
    """compiler_options of jax.jit for functions on this mesh; None on anything but a known TPU."""
    device = mesh.devices.flat[0]
    chip = find_chip(device.device_kind)
    return OPTIONS.get(chip.name) if device.platform == "tpu" and chip else None

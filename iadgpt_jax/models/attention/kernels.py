"""Which kernel attends on which platform, behind one interface.

A kernel first turns who sees whom into a plan, once per forward pass; every layer then calls attend(q, k, v, plan).
Plans are pytrees that carry their kernel with them, so layers need not know which it is:

    xla      FlatRows, or LaneMasks for laned rows (dense.py): the reference, and the choice on CPU
    splash   SplashRows (splash.py): TPU, skips the tiles of a row in which nobody sees anybody
    cudnn    CudnnRows (cudnn.py): NVIDIA GPUs in 16-bit dtypes

Window attention of the vision tower stays with dense blocks everywhere: a window is 64 patches.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.attention import cudnn
from iadgpt_jax.models.attention.dense import FlatRows, LaneMasks, dense, lane_masks, laned
from iadgpt_jax.models.attention.visibility import Lanes, Visibility, sees
from iadgpt_jax.models.remat import CONTEXT, name
from iadgpt_jax.sharding import ShardingRules

KINDS = ("auto", "xla", "splash", "cudnn")


@dataclass(frozen=True)
class Kernels:
    """A kernel and what it needs to run on a mesh. `block` is the side of a splash tile, `interpret` runs splash
    on any platform, slowly, for tests."""

    kind: str = "xla"
    mesh: Mesh | None = None
    rules: ShardingRules = ShardingRules()
    block: int = 512
    interpret: bool = False

    def rows(self, visibility: Visibility, lanes: Lanes | None):
        """The plan of packed rows."""
        if self.kind == "splash":
            from iadgpt_jax.models.attention import splash  # Pallas takes a second to import

            return splash.plan_rows(visibility, splash.Setting(self.mesh, self.rules, self.block, self.interpret))
        masks = lane_masks(visibility, lanes) if lanes else sees(visibility, visibility)
        if self.kind == "cudnn":
            return cudnn.CudnnRows(masks)
        return masks if lanes else FlatRows(masks)

    def images(self, valid: jax.Array):
        """The plan of full attention inside each image: valid bool[N, P] says which patches are the image's own."""
        if self.kind == "splash":
            from iadgpt_jax.models.attention import splash

            return splash.SplashImages(valid, splash.Setting(self.mesh, self.rules, self.block, self.interpret))
        return cudnn.CudnnImages(valid) if self.kind == "cudnn" else valid


def choose(kind: str, mesh: Mesh | None, rules: ShardingRules, dtype: jnp.dtype) -> Kernels:
    """The kernels of config.attention on a mesh: "auto" picks by the platform of its devices and the compute dtype.
    Without a mesh it is the plain form.

    Raises:
      InputError: there is no such kernel, or it cannot run on these devices or in this dtype.
    """
    if kind not in KINDS:
        raise InputError(f"config.attention is {kind!r}: choose one of {', '.join(KINDS)}")
    if mesh is None and kind in ("auto", "xla"):
        return Kernels()
    platform = mesh.devices.flat[0].platform
    short = jnp.dtype(dtype).itemsize == 2
    if kind == "auto":
        kind = "splash" if platform == "tpu" else "cudnn" if platform in ("gpu", "cuda") and short else "xla"
    if kind == "splash" and platform != "tpu":
        raise InputError(f"config.attention='splash' runs on TPU, these devices are {platform}: choose auto")
    if kind == "cudnn" and not (platform in ("gpu", "cuda") and short):
        raise InputError(
            f"config.attention='cudnn' runs on NVIDIA GPUs in bfloat16, this is {jnp.dtype(dtype).name} on {platform}: "
            "choose auto"
        )
    return Kernels(kind, mesh, rules)


def attend(q, k, v, plan):
    """Attention by a plan of Kernels.rows, or a mask bool[B, S, T]: q[B, S, H, D], k and v[B, T, K, D] ->
    [B, S, H, D]. Softmax in float32."""
    if callable(plan):
        return plan(q, k, v)
    return name((laned if isinstance(plan, LaneMasks) else dense)(q, k, v, plan), CONTEXT)

"""Which kernel attends on which platform, behind one interface.

A kernel first turns who sees whom into an object, once per forward pass; every layer then calls it: kernel(q, k, v).
Such objects are pytrees, so layers need not know which one it is:

    xla      FlatRows, or LanedRows where rows have lanes (dense.py): the reference, and the choice on CPU
    splash   SplashRows (splash.py): TPU, skips the tiles of a row in which nobody sees anybody
    cudnn    CudnnRows, or CudnnLanes (cudnn.py): NVIDIA GPUs in 16-bit dtypes

Window attention of the vision tower stays with dense blocks everywhere: a window is 64 patches.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.attention import cudnn
from iadgpt_jax.models.attention.dense import DenseImages, FlatRows, LanedRows, lane_masks
from iadgpt_jax.models.attention.plans import WholeRows
from iadgpt_jax.models.attention.visibility import Lanes, Visibility, sees
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

    def rows(self, visibility: Visibility, lanes: Lanes | None) -> WholeRows:
        """The plan of packed rows that attend to themselves."""
        return WholeRows(self._rows(visibility, lanes), visibility)

    def _rows(self, visibility: Visibility, lanes: Lanes | None):
        if self.kind == "splash":
            from iadgpt_jax.models.attention import splash  # Pallas takes a second to import

            return splash.tiled(visibility, splash.Setting(self.mesh, self.rules, self.block, self.interpret))
        if lanes:
            return (cudnn.CudnnLanes if self.kind == "cudnn" else LanedRows)(lane_masks(visibility, lanes))
        return (cudnn.CudnnRows if self.kind == "cudnn" else FlatRows)(sees(visibility, visibility))

    def images(self, valid: jax.Array):
        """Full attention inside each image: valid bool[N, P] says which patches are the image's own."""
        if self.kind == "splash":
            from iadgpt_jax.models.attention import splash

            return splash.SplashImages(valid, splash.Setting(self.mesh, self.rules, self.block, self.interpret))
        return (cudnn.CudnnImages if self.kind == "cudnn" else DenseImages)(valid)


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

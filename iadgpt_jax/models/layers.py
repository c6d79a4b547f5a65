"""The pieces both towers share: RMSNorm, a biased or bare projection, SwiGLU. Each declares its logical axes once.

Modules are handed a `Projections` and call it for each of their matrices: what holds for all matrices of a model is
written here, and chosen where the model is put together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from iadgpt_jax.models.remat import GATE, UP, checkpoint_name


class RMSNorm(nn.Module):
    """x[..., E] / rms(x) · scale, the statistics in float32 as transformers has it."""

    eps: float

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.with_logical_partitioning(nn.initializers.ones, (None,)), x.shape[-1:])
        x32 = x.astype(jnp.float32)
        x32 *= jax.lax.rsqrt(jnp.mean(x32**2, axis=-1, keepdims=True) + self.eps)
        return scale.astype(x.dtype) * x32.astype(x.dtype)


@dataclass(frozen=True)
class Projections:
    """How the matrices of a model are made. start: "qwen", normal of std .02, or "fan_in", normal of std fan_in^-½."""

    start: str = "qwen"

    def initializer(self, fan_in: int) -> Callable:
        return nn.initializers.normal(0.02 if self.start == "qwen" else fan_in**-0.5)

    def __call__(self, shape, axes, bias: bool = False, inputs: int = 1, *, name: str) -> Project:
        """A submodule of the module that calls this."""
        return Project(shape, axes, bias, inputs, self, name=name)


class Project(nn.Module):
    """A linear map over the last `inputs` axes of x to `shape`: [..., E] -> [..., H, D], say. Axes: logical names."""

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]  # inputs first, then outputs
    bias: bool = False
    inputs: int = 1
    projections: Projections = Projections()

    @nn.compact
    def __call__(self, x):
        fan_in = x.shape[x.ndim - self.inputs :]
        size = int(np.prod(fan_in))
        kernel = self.param(
            "kernel",
            nn.with_logical_partitioning(self.projections.initializer(size), self.axes),
            (*fan_in, *self.shape),
        )
        y = jax.lax.dot_general(
            x.reshape(-1, size), kernel.astype(x.dtype).reshape(size, -1), (((1,), (0,)), ((), ()))
        ).reshape(*x.shape[: x.ndim - self.inputs], *self.shape)
        if self.bias:
            zeros = nn.with_logical_partitioning(nn.initializers.zeros, self.axes[self.inputs :])
            y += self.param("bias", zeros, self.shape).astype(x.dtype)
        return y


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)); two projections, not one fused: XLA runs them faster on CPU, no slower elsewhere."""

    mlp: int
    embed_axis: str
    mlp_axis: str
    bias: bool = False
    project: Projections = Projections()

    @nn.compact
    def __call__(self, x):
        inward = (self.embed_axis, self.mlp_axis)
        gate = self.project((self.mlp,), inward, self.bias, name="gate")(x)
        up = self.project((self.mlp,), inward, self.bias, name="up")(x)
        outward = (self.mlp_axis, self.embed_axis)
        gate, up = checkpoint_name(gate, GATE), checkpoint_name(up, UP)
        return self.project(x.shape[-1:], outward, self.bias, name="down")(nn.silu(gate) * up)

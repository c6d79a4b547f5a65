"""Decoder and image attention: one rule of visibility, one reference form, a fused kernel per platform, and a plan with
one call for every mode (plans.py)."""

from iadgpt_jax.models.attention.dense import MASKED
from iadgpt_jax.models.attention.kernels import KINDS, Kernels, choose
from iadgpt_jax.models.attention.visibility import Lanes, Visibility, sees

__all__ = ["KINDS", "MASKED", "Kernels", "Lanes", "Visibility", "choose", "sees"]

"""Decoder and image attention: one rule of visibility, one reference form, and a fused kernel per platform."""

from iadgpt_jax.models.attention.dense import MASKED, FlatRows, LaneMasks, dense, lane_masks, laned
from iadgpt_jax.models.attention.kernels import KINDS, Kernels, attend, choose
from iadgpt_jax.models.attention.visibility import Lanes, Visibility, sees

__all__ = [
    "KINDS", "MASKED", "FlatRows", "Kernels", "LaneMasks", "Lanes", "Visibility", "attend", "choose", "dense",
    "lane_masks", "laned", "sees",
]  # fmt: skip

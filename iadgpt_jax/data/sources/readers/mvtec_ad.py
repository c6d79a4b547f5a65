"""MVTec AD: 15 objects and textures, pixel masks of every defect; the layout is the one others are named after."""

from iadgpt_jax.data.sources.readers.mvtec_layout import read_mvtec as read

__all__ = ["read"]

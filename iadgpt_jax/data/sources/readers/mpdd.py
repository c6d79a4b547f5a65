"""MPDD: painted metal parts in MVTec layout, photographed in varying poses."""

from iadgpt_jax.data.sources.readers.mvtec_layout import read_mvtec as read

__all__ = ["read"]

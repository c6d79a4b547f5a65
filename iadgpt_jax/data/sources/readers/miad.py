"""MIAD: seven rendered outdoor scenes (catenary_dropper … witness_mark), in MVTec layout: <scene>/train/good,
<scene>/test/{good,<defect>}, <scene>/ground_truth/<defect>/NAME_mask.*. Loaders of public repositories agree on
that."""

from iadgpt_jax.data.sources.readers.mvtec_layout import read_mvtec as read

__all__ = ["read"]

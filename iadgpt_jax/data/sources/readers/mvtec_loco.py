"""MVTec LOCO AD: <category>/{train,validation}/good, test/{good,logical_anomalies,structural_anomalies}, and several
masks an image in ground_truth/<kind>/NNN/*.png, which are united: each shows one defect, by a grey value of its own."""

from iadgpt_jax.data.sources.readers.mvtec_layout import read_mvtec as read

__all__ = ["read"]

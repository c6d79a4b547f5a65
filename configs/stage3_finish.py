"""The end of stage 3 from random weights: the same data, the maps now in the paper's form (eq. 5),
the ViT frozen."""

import ml_collections

from configs import stage3


def get_config(name: str = "tiny") -> ml_collections.ConfigDict:
    c = stage3.get_config(name)
    c.map_space = "probability"
    if c.size == "tiny":
        c.steps = 60
        c.frozen = stage3.VIT
        c.optimizer.rate = 2e-4
        c.loss.update({"answer": 1.0, "focal": 1.0, "dice_abnormal": 1.0, "dice_normal": 1.0, "binary_focal": 4.0})
    return c

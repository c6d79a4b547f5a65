"""The end of stage 3 from random weights: the same data, the maps now in the paper's form (DESIGN.md §4, eq. 5)."""

import ml_collections

from configs import stage3


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    c = stage3.get_config(size)
    c.map_space = "probability"
    if size == "tiny":
        c.steps = 300
        c.optimizer.rate = 3e-4
        c.loss.dice_abnormal = c.loss.dice_normal = 1.0
        c.loss.binary_focal = c.loss.prior = 0.0
    return c

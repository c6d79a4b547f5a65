"""Stage 1, knowledge: describe products (shape; material and structure; surface). Everything trains."""

import ml_collections

from configs.common import common, laned


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    c = common(size)
    c.stage = 1
    c.mixture.describe = {"weight": 1.0}
    if size == "tiny":
        c.steps = 80
        c.optimizer.rate = 5e-4  # gently: the start that compares is worth more than eloquence
        c.rows, c.instances = 4, 16
        c.row.images = 4
        laned(c, 128, (12, 28))
    else:
        c.optimizer.rate = 1e-5
        c.instances, c.rows = 64, 16  # the paper's global batch of 64
        c.steps = 47_000  # 3 epochs of about 1 M pairs
    return c

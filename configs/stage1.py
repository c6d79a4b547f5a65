"""Stage 1, knowledge: describe products (shape; material and structure; surface). Everything trains."""

import ml_collections

from configs.common import common, filled, flat, laned, mixture, rate_for
from configs.slices import on_slice


def get_config(name: str = "tiny") -> ml_collections.ConfigDict:
    c = common(name)
    c.stage = 1
    mixture(c, describe=1)
    if c.size == "tiny":
        c.steps = 80
        c.optimizer.rate = 5e-4  # gently: the start that compares is worth more than eloquence
        c.rows, c.instances = 4, 16
        c.row.images = 4
        laned(c, 128, (12, 28))
        return c
    c.questions = 1_000_000
    c.row.maps = 1
    if c.recipe == "paper":
        # 67 questions a step with captions of 60 tokens; 3 epochs of about 1 M.
        flat(c, 1536)
        c.row.images, c.row.targets = 4, 896
        filled(c, rows=8, per_row=2)
        c.optimizer.rate, c.steps = 1e-5, 46_900
    else:
        # A row holds 33 questions with captions of 12 tokens, 23 of 60, 16 of 120.
        c.row.images, c.row.targets = 12, 2304
        filled(c, rows=16, per_row=4)
        c.optimizer.rate = rate_for(365, 1e-5, 64)
        c.steps = 8_200  # 3 epochs of about 1 M, 365 a step with captions of 60 tokens
    on_slice(c)
    return c

"""Stage 1, knowledge: describe products (shape; material and structure; surface). Everything trains."""

import ml_collections

from configs.common import common, filled, laned
from configs.slices import on_slice


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
        c.row.images, c.row.maps, c.row.targets = 12, 1, 1024
        # With short captions a row holds 34 pairs of image and description (fewer and as full with long ones). The
        # paper's global batch of 64 is 2 rows: --config.rows=2 --config.instances=12 --config.steps=47000.
        filled(c, rows=16, per_row=6, top_up=True)
        c.steps = 5_500  # 3 epochs of about 1 M pairs, 546 a step
        on_slice(c)
    return c

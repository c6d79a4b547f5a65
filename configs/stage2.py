"""Stage 2, discrepancy: which image differs, where a pair differs, what is irregular. Half of stage 1 comes along."""

import ml_collections

from configs.common import common, filled, from_scratch, laned
from configs.slices import on_slice


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    c = common(size)
    c.stage = 2
    c.mixture.pair_difference = {"weight": 0.4}
    c.mixture.odd_one_out = {"weight": 0.3}
    c.mixture.irregular_region = {"weight": 0.3}
    c.mixture.describe = {"weight": 0.6}  # 50 % of stage 1's 1 M beside 800 k
    if size == "tiny":
        c.steps = 220
        # From scratch a supervised map teaches comparison long before words do (DESIGN.md §4), and twins before poses.
        # More words than these, or more weight on them, keep it from ever beginning to compare.
        c.mixture.pair_difference = {"weight": 0.9, "pairs": 6, "maps": True, "twins": 0.8}
        c.mixture.odd_one_out = {"weight": 0.03}
        c.mixture.irregular_region = {"weight": 0.03}
        c.mixture.describe = {"weight": 0.04}
        from_scratch(c)
        c.loss.answer = 0.1
        c.rows, c.instances = 8, 9
        c.row.images = 10
        laned(c, 120, (6, 40), (1, 64))
    else:
        c.optimizer.rate = 1e-5
        c.mixture.pair_difference.update(pairs=2, more=6)
        c.row.images, c.row.maps, c.row.targets = 15, 1, 768
        # A row holds 13 questions. The paper's global batch of 32 is about 2 rows: --config.rows=2
        # --config.instances=8 --config.steps=40000.
        filled(c, rows=16, per_row=4, top_up=True)
        c.steps = 6_100  # 1 epoch of 800 k and half of stage 1, 211 a step
        on_slice(c)
    return c

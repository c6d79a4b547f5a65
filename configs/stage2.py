"""Stage 2, discrepancy: which image differs, where a pair differs, what is irregular. Half of stage 1 comes along."""

import ml_collections

from configs.common import common, laned


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    c = common(size)
    c.stage = 2
    c.mixture.pair_difference = {"weight": 0.4}
    c.mixture.odd_one_out = {"weight": 0.3}
    c.mixture.irregular_region = {"weight": 0.3}
    c.mixture.describe = {"weight": 0.6}  # 50 % of stage 1's 1 M beside 800 k
    if size == "tiny":
        c.steps = 500
        c.optimizer.rate = 1.5e-3
        # From scratch a supervised map teaches comparison long before words do (DESIGN.md §4).
        c.mixture.pair_difference = {"weight": 0.7, "pairs": 6, "maps": True, "twins": 0.6}
        c.mixture.odd_one_out = {"weight": 0.1}
        c.mixture.irregular_region = {"weight": 0.1}
        c.mixture.describe = {"weight": 0.1}
        c.map_space = "logit"
        c.loss.dice_abnormal = c.loss.dice_normal = 0.5
        c.loss.binary_focal = 1.0
        c.loss.prior = 3.0
        c.row.verdict_weight = 4.0
        c.rows, c.instances = 8, 11
        c.row.images = 10
        laned(c, 88, (6, 40), (1, 64))
    else:
        c.optimizer.rate = 1e-5
        c.instances, c.rows = 32, 16
        c.steps = 40_000
    return c

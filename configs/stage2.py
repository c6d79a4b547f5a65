"""Stage 2, discrepancy: which image differs, where a pair differs, what is irregular. Half of stage 1 comes along."""

import ml_collections

from configs import stage1
from configs.common import common, filled, flat, from_scratch, laned, mixture, rate_for, replay
from configs.slices import on_slice


def get_config(name: str = "tiny") -> ml_collections.ConfigDict:
    c = common(name)
    c.stage = 2
    if c.size == "tiny":
        c.steps = 220
        # From scratch a supervised map teaches comparison long before words do, and twins before poses. More words than
        # these, or more weight on them, keep it from ever beginning to compare: not the paper's mixture, 96.8, .5, .5
        # and 2.2 % of the questions.
        mixture(c, pair_difference=180, odd_one_out=1, irregular_region=1, describe=4)
        c.mixture.pair_difference.update(pairs=6, maps=True, twins=0.8)
        from_scratch(c)
        c.loss.answer = 0.1
        c.rows, c.instances = 8, 9
        c.row.images = 10
        laned(c, 120, (6, 40), (1, 64))
        return c
    # 800 k questions of its own, and 50 % of stage 1's 1 M. The paper does not say how its three tasks compare.
    c.questions = 800_000
    mixture(c, pair_difference=0.4, odd_one_out=0.3, irregular_region=0.3)
    replay(c, stage1.get_config(c.size), 0.5)
    c.mixture.pair_difference.update(pairs=2, more=6)
    c.row.maps = 1
    if c.recipe == "paper":
        # 31 questions a step with captions of 60 tokens; 1 epoch of 1.3 M.
        flat(c, 1792)
        c.row.images, c.row.targets = 7, 768
        filled(c, rows=8, per_row=2)
        c.optimizer.rate, c.steps = 1e-5, 40_600
    else:
        # A row holds 10 questions.
        c.row.images, c.row.targets = 15, 1536
        filled(c, rows=16, per_row=4)
        c.optimizer.rate = rate_for(157, 1e-5, 32)
        c.steps = 8_300  # 1 epoch of 1.3 M, 157 a step with captions of 60 tokens
    on_slice(c)
    return c

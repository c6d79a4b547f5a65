"""Stage 3, inspection: verdict, map and reasons from 1, 2 or 4 references, with 80 % of stage 2. The ViT is frozen
(not in the tiny stage 3, which has to learn to see first; its finish freezes it)."""

import ml_collections

from configs import stage2
from configs.common import common, filled, flat, from_scratch, laned, mixture, rate_for, replay
from configs.slices import on_slice

VIT = r"^vision/(?!fusion/|merger/)"  # whatever the tower's blocks are called; gates, merger and decoder train


def get_config(name: str = "tiny") -> ml_collections.ConfigDict:
    c = common(name)
    c.stage = 3
    c.frozen = VIT
    c.map_space = "probability"
    c.row.images = 11  # four references and seven queries
    if c.size == "tiny":
        c.steps = 1900
        c.frozen = ""  # no pretrained ViT to keep; configs/stage3_finish.py freezes it
        from_scratch(c)
        c.map_space = "log_probability"  # comparing, as stage 2 leaves it, it can learn the paper's attention itself
        mixture(c, inspect=70, pair_difference=3, odd_one_out=1, irregular_region=1)  # replay: 7 %, the paper has 48
        c.mixture.pair_difference.update(pairs=6, maps=True, twins=0.5)
        c.rows, c.instances = 8, 9
        laned(c, 104, (6, 40), (1, 64))
        return c
    # 700 k questions of its own, and 80 % of stage 2's own 800 k. The paper does not say how many of its own are
    # conversations: at most the 125 k of Anomaly-Instruct. Without a source that has some, `inspect` gets their share.
    c.questions = 700_000
    mixture(c, inspect=0.82, reason=0.18)
    replay(c, stage2.get_config(c.size), 0.8)
    c.mixture.inspect.update(queries=2, reasons=1, more=12)
    c.mixture.pair_difference.update(pairs=1, more=6)
    c.row.targets = 384  # enough where 120 tokens are said of a defect
    if c.recipe == "paper":
        # 32 questions a step; 1 epoch of 1.34 M.
        flat(c, 2304)
        c.row.images, c.row.maps = 10, 8
        filled(c, rows=8, per_row=1)
        c.optimizer.rate, c.steps = 2e-6, 41_900
    else:
        # A row holds 8.5 questions.
        c.row.images, c.row.maps = 17, 14
        filled(c, rows=32, per_row=2)
        c.optimizer.rate = rate_for(272, 2e-6, 32)
        c.steps = 4_900  # 1 epoch of 1.34 M, 272 a step
    on_slice(c)
    return c

"""Stage 3, inspection: verdict, map and reasons from 1, 2 or 4 references, with 80 % of stage 2. The ViT is frozen
(not in the tiny stage 3, which has to learn to see first; its finish freezes it)."""

import ml_collections

from configs.common import common, filled, from_scratch, laned
from configs.slices import on_slice

VIT = r"^vision/(groups|patch_embed|block_)"  # gates, merger and decoder train


def get_config(size: str = "tiny") -> ml_collections.ConfigDict:
    c = common(size)
    c.stage = 3
    c.frozen = VIT
    c.map_space = "probability"
    c.mixture.inspect = {"weight": 0.52}
    c.mixture.pair_difference = {"weight": 0.2}
    c.mixture.odd_one_out = {"weight": 0.14}
    c.mixture.irregular_region = {"weight": 0.14}
    c.row.images = 11  # four references and seven queries
    if size == "tiny":
        c.steps = 1900
        c.frozen = ""  # no pretrained ViT to keep; configs/stage3_finish.py freezes it
        from_scratch(c)
        c.map_space = "log_probability"  # comparing, as stage 2 leaves it, it can learn the paper's attention itself
        c.mixture.inspect = {"weight": 0.8}
        c.mixture.pair_difference = {"weight": 0.04, "pairs": 6, "maps": True, "twins": 0.5}
        c.mixture.odd_one_out = {"weight": 0.08}
        c.mixture.irregular_region = {"weight": 0.08}
        c.rows, c.instances = 8, 9
        laned(c, 104, (6, 40), (1, 64))
    else:
        c.optimizer.rate = 2e-6
        c.mixture.inspect.update(queries=2, reasons=1, more=12)
        c.mixture.pair_difference.update(pairs=1, more=6)
        c.row.images, c.row.maps = 17, 14
        # A row holds 10 queries. The paper's global batch of 32 is 3 rows: --config.rows=3 --config.pack.group=3
        # --config.instances=6 --config.steps=42000.
        filled(c, rows=32, per_row=2)
        c.steps = 4_100  # 1 epoch of 700 k and 80 % of stage 2, 326 a step
        on_slice(c)
    return c

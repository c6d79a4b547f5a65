"""What shared references save at full size: one stage configured twice for the same few-shot queries, once in laned
rows that share their references, once in rows of one whole prompt each. Neither holds padding, so compiled FLOPs per
query compare.
"""

from __future__ import annotations

import dataclasses

import ml_collections
import numpy as np

from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.registry import preset

SIDES = ("shared", "apart")


def configured(
    config: ml_collections.ConfigDict, tokenizer: Tokenizer, shots: int, queries: int, rows: int
) -> dict[str, ml_collections.ConfigDict]:
    """{"shared": …, "apart": …}: `rows` rows of `queries` queries behind `shots` references, or `queries` times as many
    of one. Lengths are those of the detection question in the tokenizer's words.

    Raises:
      InputError: fewer than one of either.
    """
    if shots < 1 or queries < 1:
        raise InputError(f"--shots={shots} --queries={queries}: compare at least one query behind one reference")
    encoder = Encoder(dataclasses.replace(preset(config.size), tokens=tokenizer.special), tokenizer)
    blank = np.zeros((config.image_side, config.image_side, 3), np.uint8)
    asked = Block(images=(blank,), sees=shots, detection=Detection(False, blank[..., 0]))
    encoded = encoder(Instance("inspect", (asked,), (blank,) * shots))
    block = encoded.blocks[0]
    lane = len(block.segment)
    shared, apart = (config.copy_and_resolve_references() for _ in SIDES)
    shared.rows, apart.rows = rows, rows * queries
    shared.row.prefix, shared.row.lanes = len(encoded.shared), ((queries, lane),)
    apart.row.prefix, apart.row.lanes = 0, ()
    for one, blocks in ((shared, queries), (apart, 1)):
        one.row.slots, one.row.images = len(encoded.shared) + blocks * lane, shots + blocks
        one.row.maps, one.row.keyword_rows = blocks, len(block.keyword_rows)
        one.row.targets = blocks * len(block.targets)
    return {"shared": shared, "apart": apart}

"""launch/compile.py --shots: what is compared holds the same queries, fills its rows, and is counted per query."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from configs import stage3
from iadgpt_jax.ahead.shots import compare, shots_lines
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.pack import pack
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.registry import preset
from iadgpt_jax.train.shots import configured

SHOTS, QUERIES, ROWS = 4, 3, 2


@pytest.mark.parametrize("side, blocks, rows", [("shared", QUERIES, ROWS), ("apart", 1, ROWS * QUERIES)])
def test_rows_of_either_side_are_filled_to_the_last_slot(side, blocks, rows):
    """Real instances packed into the rows that would be compiled: nothing is left over, nothing stays empty."""
    tokenizer = tiny_tokenizer()
    config = configured(stage3.get_config("tiny"), tokenizer, SHOTS, QUERIES, ROWS)[side]
    image = np.zeros((config.image_side, config.image_side, 3), np.uint8)
    asked = Block(images=(image,), sees=SHOTS, detection=Detection(False, image[..., 0]))
    model = dataclasses.replace(preset("tiny"), tokens=tokenizer.special)
    instances = [Instance("inspect", (asked,) * blocks, (image,) * SHOTS)] * config.rows
    encodeds = [Encoder(model, tokenizer)(one) for one in instances]
    packed = pack(encodeds, config.rows, RowShape.of(config.row), model.vision)
    assert config.rows == rows and None not in packed.where
    assert packed.tally.filled == (1.0, 1.0) and packed.tally.queries == ROWS * QUERIES
    assert packed.tally.maps == rows * config.row.maps and packed.tally.targets == rows * config.row.targets


def test_figures_are_per_query():
    def report(rows, slots, images, flops):
        return {
            "stage": 3, "size": "7b", "step": "train", "topology": "v5p:2x2x4", "rows": rows, "slots": slots,
            "images": images, "devices": 16, "compiled_flops": flops, "model_flops": flops / 2, "fits": True,
        }  # fmt: skip

    result = compare({"shared": report(16, 2000, 10, 6e12), "apart": report(96, 1000, 5, 15e12)}, 4, 6)
    assert result["per_query"]["compiled_flops"] == {"shared": 1e12, "apart": 2.5e12, "ratio": 2.5}
    assert result["per_query"]["slots"]["ratio"] == 3 and result["per_query"]["images"]["apart"] == 5
    assert any("compiled flops" in line and "2.50" in line for line in shots_lines(result))


def test_a_side_that_does_not_fit_leaves_nothing_to_compare():
    result = compare({"shared": {"fits": True}, "apart": {"fits": False}}, 4, 6)
    assert not result["fits"] and "per_query" not in result


def test_no_queries_is_refused():
    with pytest.raises(InputError, match="at least one query behind one reference"):
        configured(stage3.get_config("tiny"), tiny_tokenizer(), 4, 0, 1)

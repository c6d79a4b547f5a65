"""A packed row read back says what went into it, and marks exactly the tokens that are learned."""

from __future__ import annotations

import numpy as np
import pytest

from iadgpt_jax.data.pack import pack
from iadgpt_jax.data.patches import from_patches, to_patches
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance, Turn
from iadgpt_jax.data.unpack import held_in, image_in, masks_in
from iadgpt_jax.models.registry import preset
from tests.small_iadgpt import BUDGET, SIDE, draw_image, small_encoder

SHAPE = RowShape(slots=640, images=6, patches=BUDGET, maps=3, keyword_rows=12, targets=96, mask_side=4)


@pytest.mark.parametrize("size", ("tiny", "7b"))
@pytest.mark.parametrize("units", [(1, 1), (4, 4), (3, 5)])
def test_patches_become_the_image_they_were_made_of(size, units):
    vision = preset(size).vision
    side = vision.patch * vision.merge
    image = np.random.default_rng(0).integers(0, 256, (units[0] * side, units[1] * side, 3), dtype=np.uint8)
    np.testing.assert_array_equal(from_patches(to_patches(image, vision), units, vision), image)


@pytest.fixture(scope="module")
def packed():
    rng = np.random.default_rng(0)
    images = [draw_image(rng) for _ in range(4)]
    mask = np.zeros((SIDE * 28, SIDE * 28), np.uint8)
    mask[: SIDE * 14] = 1
    asked = Block((Turn("And where?", "At the top."),), (images[1],), 1, Detection(True, mask))
    told = Block((Turn("Describe its surface.", "Smooth and grey."), Turn("Why?", "It was ground.")), sees=1)
    instances = [
        Instance("inspect", (asked, told), (images[0],)),
        Instance("irregular_region", (Block((Turn("Where?", "Nowhere."),), (images[2],)),)),
    ]
    encoder = small_encoder()
    return images, mask, pack([encoder(one) for one in instances], 1, SHAPE, encoder.config.vision), encoder


def texts(part, tokenizer, taught=None):
    return [
        tokenizer.decode(run.tokens, skip_special=False)
        for run in part.runs if run.image is None and taught in (None, run.taught)
    ]  # fmt: skip


def test_answers_are_learned_and_nothing_else(packed):
    *_, rows, encoder = packed
    held = held_in(rows.rows, 0)
    learned = sorted(text for one in held for part in one.parts for text in texts(part, encoder.tokenizer, True))
    end, no = "<|im_end|>", encoder.prompt.verdict(True)
    # A last answer's end takes no slot, so it is a run of its own.
    assert learned == sorted(
        [no + end, "At the top.", end, "Smooth and grey." + end, "It was ground.", end, "Nowhere.", end]
    )
    count = sum(len(run.tokens) for one in held for part in one.parts for run in part.runs if run.taught)
    assert count == int((rows.rows.target_weights > 0).sum())


def test_every_slot_is_told_once_with_its_words(packed):
    *_, rows, encoder = packed
    held = held_in(rows.rows, 0)
    assert sum(part.slots for one in held for part in one.parts) == int((rows.rows.segment > 0).sum())
    laid = sum(len(run.tokens) for one in held for part in one.parts for run in part.runs if run.laid)
    assert laid == int((rows.rows.segment > 0).sum())
    asked = next(
        "".join(texts(part, encoder.tokenizer)) for one in held for part in one.parts[1:] if len(one.parts) == 3
    )
    assert encoder.prompt.question in asked and "And where?" in asked


def test_images_and_masks_come_back(packed):
    images, mask, rows, encoder = packed
    vision = encoder.config.vision
    slots = [slot for slot in range(SHAPE.images) if rows.rows.grid[0, slot, 0]]
    back = [image_in(rows.rows, 0, slot, vision) for slot in slots]
    assert sorted(image.tobytes() for image in back) == sorted(image.tobytes() for image in images[:3])
    ((slot, small),) = masks_in(rows.rows, 0).items()
    np.testing.assert_array_equal(image_in(rows.rows, 0, slot, vision), images[1])
    assert small.tolist() == mask[:: SIDE * 7, :: SIDE * 7].tolist()

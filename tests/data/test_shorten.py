"""Texts too long for a row end with a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from iadgpt_jax.data.fill import fits
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.shorten import cut_text, encode_to_fit
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from tests.small_iadgpt import BUDGET, draw_image, small_encoder

ENCODER = small_encoder()
SHAPE = RowShape(slots=120, images=2, patches=BUDGET, maps=1, keyword_rows=8, targets=40, mask_side=16)
LONG = "There is a scratch at the top left. " * 12


def described(*answers: str) -> Instance:
    blocks = tuple(Block((Turn("Describe its surface.", answer),), sees=1) for answer in answers)
    return Instance("describe", blocks, (draw_image(np.random.default_rng(0)),))


def encoded(instance, shape=SHAPE):
    return encode_to_fit(ENCODER, instance, lambda one: fits(one, shape))


def text_of(block) -> str:
    return ENCODER.tokenizer.decode([token for _, token in block.targets[:-1]])


def test_what_fits_stays_whole():
    instance = described("There is a scratch.")
    assert encoded(instance).blocks == ENCODER(instance).blocks and not encoded(instance).cut


def test_a_long_answer_ends_with_as_many_sentences_as_the_row_holds():
    one = encoded(described(LONG))
    text = text_of(one.blocks[0])
    assert one.cut and fits(one, SHAPE)
    assert LONG.startswith(text) and text.endswith("left.")
    assert not fits(ENCODER(described(LONG[: len(text) + len("There is a scratch at the top left. ")])), SHAPE)


def test_short_answers_beside_a_long_one_stay():
    one = encoded(described("There is a scratch.", LONG))
    assert one.cut and text_of(one.blocks[0]) == "There is a scratch."


@pytest.mark.parametrize("text", ["scratch " * 60, "x" * 500])
def test_one_endless_sentence_is_cut_too(text):
    one = encoded(described(text))
    assert one.cut and fits(one, SHAPE) and text_of(one.blocks[0])


def test_sentences_end_at_their_marks_only():
    assert cut_text("It is 3.5 mm thick. It is dull.", ENCODER, 12).endswith("thick.")


def test_what_no_cut_makes_fit_is_left_to_the_packer():
    """Its images are too many: a mistake of the configuration, not of a text."""
    instance = Instance(
        "describe", (Block((Turn("Is it?", LONG),), sees=3),), (draw_image(np.random.default_rng(0)),) * 3
    )
    assert not encoded(instance).cut

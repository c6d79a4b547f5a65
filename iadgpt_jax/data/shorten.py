"""A text that is longer than a row: its answers are cut at the end of a sentence until the instance fits."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from iadgpt_jax.data.encode import Encoded, Encoder
from iadgpt_jax.data.tasks.instance import Instance

_SENTENCE_END = re.compile(r"[.!?…](?=\s)|[。！？]|\n")
_WORD_END = re.compile(r"(?<=\S)(?=\s)")


def encode_to_fit(encoder: Encoder, instance: Instance, fits: Callable[[Encoded], bool]) -> Encoded:
    """The instance in tokens, with the longest answers cut to a common length where it does not fit otherwise.

    What does not fit even without words is returned as it is: its images are too many or too large for the row, and
    only another configuration helps.
    """
    encoded = encoder(instance)
    if fits(encoded):
        return encoded
    answers = [turn.answer for block in instance.blocks for turn in block.turns if turn.answer is not None]
    least, most, found = 1, max((len(encoder.tokenizer.encode(answer)) for answer in answers), default=1), None
    while least < most:  # the largest length below the whole at which it fits
        length = (least + most) // 2
        shorter = encoder(_cut(instance, encoder, length))
        if fits(shorter):
            found, least = shorter, length + 1
        else:
            most = length
    return encoded if found is None else dataclasses.replace(found, cut=True)


def _cut(instance: Instance, encoder: Encoder, length: int) -> Instance:
    def turns_of(block):
        return tuple(
            turn if turn.answer is None else dataclasses.replace(turn, answer=cut_text(turn.answer, encoder, length))
            for turn in block.turns
        )

    blocks = tuple(dataclasses.replace(block, turns=turns_of(block)) for block in instance.blocks)
    return dataclasses.replace(instance, blocks=blocks)


def cut_text(text: str, encoder: Encoder, length: int) -> str:
    """As many whole sentences of `text` as `length` tokens hold; of a first sentence that is longer, its words."""
    _, offsets = encoder.tokenizer.encode_with_offsets(text)
    if len(offsets) <= length:
        return text
    end = offsets[length - 1][1]
    for boundary in (_SENTENCE_END, _WORD_END):
        if ends := [match.end() for match in boundary.finditer(text) if match.end() <= end]:
            return text[: ends[-1]].rstrip()
    return text[:end]

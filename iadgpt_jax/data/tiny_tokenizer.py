"""The tiny preset's tokenizer, trained on everything the tiny model will ever read or say."""

from __future__ import annotations

import functools

from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tokenizer import Tokenizer, train_tiny
from iadgpt_jax.procedural import corpus

PROMPT_WEIGHT = 8  # the prompts' words come in every instance, so they should be whole tokens


@functools.cache
def tiny_tokenizer() -> Tokenizer:
    """Always the same merges: the corpus is a constant."""
    return train_tiny([*prompts.corpus() * PROMPT_WEIGHT, *corpus()])

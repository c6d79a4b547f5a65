"""Questions about one sample that several tasks and evaluation ask: is it normal, and what is wrong with it?"""

from __future__ import annotations

from iadgpt_jax.data.sources.sample import Sample
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.instance import Block, Turn


def detect(sample: Sample, references: int) -> Block:
    """Is it normal, compared with the first `references` shared images? Scored and mapped; the sample's mask supervises
    the map where there is one."""
    turns = (Turn(prompts.DETECT, prompts.verdict(sample.defective)),)
    return Block(turns, (sample.image,), references, prompts.KEYWORDS, sample.mask, scored=True)


def reason(sample: Sample, references: int) -> Block:
    """What is wrong with it, where (if it has a mask), why, and what to do about it?"""
    return Block((Turn(prompts.REASON, prompts.reasoning(sample)),), (sample.image,), references)

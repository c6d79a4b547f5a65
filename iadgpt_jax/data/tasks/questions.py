"""Questions about one sample that several tasks and evaluation ask: is something wrong with it, and what?"""

from __future__ import annotations

from iadgpt_jax.data.sources.sample import Sample
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.instance import Block, Detection, Turn


def detect(sample: Sample, references: int) -> Block:
    """Is something wrong with it, compared with the first `references` shared images, in the words of the model's
    detection prompt? Scored and mapped; the sample's mask supervises the map where there is one."""
    return Block(images=(sample.image,), sees=references, detection=Detection(sample.defective, sample.mask))


def reason(sample: Sample, references: int) -> Block:
    """What is wrong with it, where (if it has a mask), why, and what to do about it?"""
    return Block((Turn(prompts.REASON, prompts.reasoning(sample)),), (sample.image,), references)

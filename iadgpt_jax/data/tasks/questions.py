"""Questions about one sample that several tasks and evaluation ask: is something wrong, what, where and why?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from iadgpt_jax.data.place import place_of
from iadgpt_jax.data.sources.sample import Sample
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.instance import Block, Detection, Turn

SHORT = 2  # short questions of a block, at most


def detect(sample: Sample, references: int) -> Block:
    """Is something wrong with it, compared with the first `references` shared images, in the words of the model's
    detection prompt? Scored and mapped; the sample's mask supervises the map where there is one."""
    return Block(images=(sample.image,), sees=references, detection=Detection(sample.defective, sample.mask))


def reason(sample: Sample, references: int) -> Block:
    """What is wrong with it, where (if it has a mask), why, and what to do about it?"""
    turn = Turn(prompts.REASON, prompts.reasoning(sample), _words(sample))
    return Block((turn,), (sample.image,), references)


def told(sample: Sample, block: Block) -> Block:
    """The block with a further turn that asks what is wrong. Of the answer it teaches what and where alone: cause and
    remedy follow from the kind, and would take twice the slots."""
    whole = prompts.finding(sample) == prompts.reasoning(sample)
    turn = Turn(prompts.REASON, prompts.finding(sample), _words(sample), whole)
    return dataclasses.replace(block, turns=(*block.turns, turn))


def short(
    sample: Sample, references: int, other_kind: Callable[[], str | None], rng: np.random.Generator
) -> Block | None:  # fmt: skip
    """Where is it, why, is there such a defect? Up to SHORT of those whose answer is known, in random order; None where
    there is none. other_kind: a kind to ask for that may not be the sample's."""
    known: list[Callable[[], Turn | None]] = [lambda: _is_there(sample, other_kind, rng)]
    if not sample.defective or place_of(sample):
        known.append(lambda: Turn(prompts.WHERE, prompts.where(sample), _words(sample)))
    if not sample.defective or prompts.why(sample):
        known.append(lambda: Turn(prompts.WHY, prompts.why(sample) or prompts.NOTHING_WRONG))
    turns = [turn for i in rng.permutation(len(known)) if (turn := known[i]()) is not None]
    return Block(tuple(turns[:SHORT]), (sample.image,), references) if turns else None


def has_words(sample: Sample) -> bool:
    """Whether what is wrong with it can be told: of a pasted defect without a name it cannot."""
    return not (sample.defective and sample.made and sample.defect is None)


def _is_there(sample: Sample, other_kind: Callable[[], str | None], rng: np.random.Generator) -> Turn | None:
    own = sample.defect.kind if sample.defective and sample.defect else None
    if sample.defective and own is None:
        return None
    kind = own if own and rng.random() < 0.5 else other_kind()
    return Turn(prompts.IS_THERE.format(kind=kind), prompts.YES if kind == own else prompts.NO) if kind else None


def _words(sample: Sample) -> tuple[tuple[str, str], ...]:
    """What an answer about a sample says: its kind, and its place with the full stop, which ends "top" where "top left"
    would go on."""
    if not sample.defective:
        return ()
    kind = (("kind", sample.defect.kind),) if sample.defect else ()
    place = place_of(sample)
    return (*kind, ("place", f"{place}.")) if place else kind

"""Every sentence the system asks or answers with, in one place; but the detection question, which each model has of its
own (data/detection_prompt.py)."""

from __future__ import annotations

from iadgpt_jax.data.chat import SYSTEM
from iadgpt_jax.data.detection_prompt import NORMALITY
from iadgpt_jax.data.place import PLACES, place_of
from iadgpt_jax.data.sources.sample import Sample

REASON = "What is wrong with the last image?"
# Before the first question of a published conversation, which knows of no references.
REFERENCES_FIRST = "The last image is the one to inspect; those before it show normal products of the same kind.\n"
NOTHING_WRONG = "Nothing. The product is normal."

DESCRIBE = (
    "Describe the shape of the product.",
    "Describe its material and structure.",
    "Describe its surface.",
)

ODD_ONE = "Which image differs from the others?"
ORDINALS = ("first", "second", "third", "fourth")
NONE_DIFFERS = "None of them."
WHERE_DIFFERENT = "Where does the last image differ from the first?"
NOWHERE = "Nowhere."
DIFFERS_AT = "Do they differ at the {place}?"
YES, NO = "Yes.", "No."
# Short questions, as people ask them of one product.
WHERE, WHY, IS_THERE = "Where is it?", "Why?", "Is there a {kind}?"
IRREGULAR = "Where is the irregular region?"


def at(place: str) -> str:
    return f"At the {place}."


def odd_one(index: int | None) -> str:
    return NONE_DIFFERS if index is None else f"The {ORDINALS[index]} image."


def where(sample: Sample) -> str:
    """Where the defect of a sample is. Raises ValueError for a defective one without a mask."""
    if not sample.defective:
        return NOWHERE
    if (place := place_of(sample)) is None:
        raise ValueError(f"{sample.key} is defective and has no mask: no answer about its place is known to be true")
    return at(place)


def reasoning(sample: Sample) -> str:
    """The reasoned answer about a sample: what is wrong, where if it has a mask, and why and what to do if known."""
    if not sample.defective:
        return NOTHING_WRONG
    return " ".join(filter(None, (finding(sample), why(sample))))


def finding(sample: Sample) -> str:
    """What is wrong with a sample, and where if it has a mask."""
    if not sample.defective:
        return NOTHING_WRONG
    place = place_of(sample)
    kind = sample.defect.kind if sample.defect else "defect"
    return f"There is a {kind}" + (f" at the {place}." if place else ".")


def why(sample: Sample) -> str:
    """Cause and remedy of a sample's defect, as far as they are known; "" where neither is, and of a good one."""
    if not sample.defective or not sample.defect:
        return ""
    cause = f"Likely cause: {sample.defect.cause}." if sample.defect.cause else ""
    remedy = f"Remedy: {sample.defect.remedy}." if sample.defect.remedy else ""
    return " ".join(filter(None, (cause, remedy)))


def corpus() -> list[str]:
    """Every sentence above, for training the tiny tokenizer."""
    sentences = [NORMALITY.question, NORMALITY.normal_answer, NORMALITY.anomalous_answer]
    sentences += [REASON, NOTHING_WRONG, *DESCRIBE, ODD_ONE, NONE_DIFFERS]
    sentences += [odd_one(i) for i in range(len(ORDINALS))]
    sentences += [WHERE_DIFFERENT, NOWHERE, IRREGULAR, YES, NO, SYSTEM, "system", "user", "assistant"]
    sentences += [WHERE, WHY, IS_THERE.format(kind="defect"), "Likely cause: defect."]
    for place in PLACES:
        sentences += [DIFFERS_AT.format(place=place), at(place)]
        sentences += [f"There is a defect at the {place}. Likely cause: defect. Remedy: defect."]
    return sentences

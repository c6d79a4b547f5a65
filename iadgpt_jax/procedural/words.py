"""All the words the source uses, for training a tokenizer."""

from __future__ import annotations

from iadgpt_jax.procedural import captions, facts, families, noise, palette
from iadgpt_jax.procedural.product import COUNTED, number, plural

_DESIGNS_PER_FAMILY = 18


def corpus(seed: int = 0) -> list[str]:
    """Sentences that hold every word of captions and facts: some designs' (not painted), then the closed lists."""
    sentences: list[str] = []
    every = {**families.TRAINED, **families.UNSEEN}
    kinds = tuple(captions.NOUNS)
    for f, family in enumerate(every.values()):
        for k in range(_DESIGNS_PER_FAMILY):
            rng = noise.generator(seed, 9, f, k)
            marks = [(kinds[rng.integers(len(kinds))], *rng.uniform(-1, 1, 2)) for _ in range(int(rng.integers(4)))]
            sentences.extend(captions.captions(family(rng), marks))
    for fact in facts.every():
        sentences.extend((fact.kind, fact.cause, fact.remedy))
        # As answers have them, behind a blank: " scratch" is then one token.
        sentences.append(f"There is a {fact.kind}: {fact.cause}: {fact.remedy}")
    sentences.extend(f"It is {name}." for name in palette.NAMED)
    sentences.extend(f"{number(n)} {noun}, {plural(noun)}" for n, noun in enumerate(COUNTED, 1))
    sentences.extend(
        f"with a {noun} at the {captions.place(x, y)}"
        for noun in captions.NOUNS.values()
        for x in (-1, 0, 1)
        for y in (-1, 0, 1)
    )
    return sentences

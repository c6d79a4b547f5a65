"""Whether answers to short questions follow the image: each is asked of a good and of a defective product of every
held-out category, and counts where both answers are right. Whoever answers without looking gets one of them wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from iadgpt_jax.checkpoint.load import LoadedModel
from iadgpt_jax.data.sources.sample import Sample, Source
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.evaluate.answers import answers_to, chosen, truth
from iadgpt_jax.evaluate.protocol import CategoryPlan
from iadgpt_jax.evaluate.reasoning import read_answer


@dataclass(frozen=True)
class Question:
    """text(defective sample) is what is asked of it and of a good one; right(answer, sample) whether an answer about
    either is."""

    text: Callable[[Sample], str]
    right: Callable[[str, Sample], bool]


def _where(answer: str, sample: Sample) -> bool:
    claim = read_answer(answer)
    return claim.place == truth(sample).place if sample.defective else claim.defective is False


def _is_there(answer: str, sample: Sample) -> bool:
    return answer.strip().lower().startswith("yes" if sample.defective else "no")


def _why(answer: str, sample: Sample) -> bool:
    return sample.defect.cause in answer if sample.defective else read_answer(answer).defective is False


QUESTIONS = {
    "where": Question(lambda sample: prompts.WHERE, _where),
    "is_there": Question(lambda sample: prompts.IS_THERE.format(kind=sample.defect.kind), _is_there),
    "why": Question(lambda sample: prompts.WHY, _why),
}


def ask_pairs(
    loaded: LoadedModel,
    source: Source,
    plans: Sequence[CategoryPlan],
    *,
    seed: int = 0,
    watch: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> dict[str, dict[str, float]]:
    """{question: shares of right answers, "good", "defective" and "both"} over one pair of every plan that has one
    whose defect is known in words. Empty where there is none."""
    pairs = [(plan, *found) for plan in plans if (found := _pair(source, plan, seed))]
    asked = [
        [(index, question.text(source[bad])) for question in QUESTIONS.values() for index in (bad, good)]
        for _, bad, good in pairs
    ]
    if not pairs:
        return {}
    answers = answers_to(asked, loaded, source, [plan for plan, *_ in pairs], watch=watch)
    return grade_pairs(
        [(source[bad], source[good], texts) for (_, bad, good), texts in zip(pairs, answers, strict=True)]
    )


def grade_pairs(pairs: Sequence[tuple[Sample, Sample, Sequence[str]]]) -> dict[str, dict[str, float]]:
    """`ask_pairs` of (defective sample, good one, what was said: to each of QUESTIONS of the one, then the other)."""
    shares = {}
    for number, (name, question) in enumerate(QUESTIONS.items()):
        bad = [question.right(texts[2 * number], sample) for sample, _, texts in pairs]
        good = [question.right(texts[2 * number + 1], sample) for _, sample, texts in pairs]
        both = [a and b for a, b in zip(bad, good, strict=True)]
        shares[name] = {
            which: sum(right) / len(right) for which, right in (("good", good), ("defective", bad), ("both", both))
        }
    return shares


def _pair(source: Source, plan: CategoryPlan, seed: int) -> tuple[int, int] | None:
    """(defective query, good one); None where there are none, or nobody said what the defect is, why and where."""
    found = chosen(source, plan, 2, seed)
    if [source.records[index].defective for index in found] != [True, False]:
        return None
    defective = source[found[0]]
    known = defective.defect and defective.defect.kind and defective.defect.cause and truth(defective).place
    return (found[0], found[1]) if known else None

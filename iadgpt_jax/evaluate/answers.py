"""Generated answers on held-out products: what is wrong, and where, graded against what is known of the defect, beside
what a constant answer would get."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from iadgpt_jax.checkpoint.load import LoadedModel, trained_dtype
from iadgpt_jax.data.detection_prompt import prompt_of
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.place import place_of
from iadgpt_jax.data.sources.sample import Sample, Source
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.evaluate.protocol import CategoryPlan
from iadgpt_jax.evaluate.reasoning import Truth, grade_answers
from iadgpt_jax.evaluate.scoring import CategoryScores
from iadgpt_jax.evaluate.word_bounds import confusion, constant_grades, map_grades
from iadgpt_jax.infer.generate import Generator
from iadgpt_jax.models.registry import make_module

LONGEST = 48  # tokens of a reasoned answer
AT_ONCE = 16  # categories generated for in one batch


@dataclass(frozen=True)
class Answers:
    """grades: as evaluate/reasoning.grade_answers, with "baselines" and "kinds" (evaluate/word_bounds.py); texts:
    {sample index: generated answer}."""

    grades: dict
    texts: dict[int, str]


def generate_answers(
    loaded: LoadedModel,
    source: Source,
    plans: Sequence[CategoryPlan],
    per_category: int,
    *,
    seed: int = 0,
    watch: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> Answers:
    """Ask what is wrong with `per_category` queries of every plan, half of them defective, against all references."""
    asked = [chosen(source, plan, per_category, seed) for plan in plans]
    questions = [[(index, prompts.REASON) for index in indices] for indices in asked]
    answered = answers_to(questions, loaded, source, plans, watch=watch)
    texts = {index: text for part in zip(asked, answered, strict=True) for index, text in zip(*part, strict=True)}
    truths = [truth(source[index]) for index in texts]
    said, read = list(texts.values()), {"anomalous_answer": prompt_of(loaded.info).anomalous_answer}
    grades = grade_answers(said, truths, **read)
    grades |= {"baselines": constant_grades(truths), "kinds": confusion(said, truths, **read)}
    return Answers(grades, texts)


def map_reading(source: Source, indices: Collection[int], scored: Mapping[str, CategoryScores]) -> dict:
    """The grades of places, were they read off the maps of these samples: word_bounds.map_grades. scored: the maps, by
    category (evaluate/scoring.py)."""
    maps = {i: m for found in scored.values() for i, m in zip(found.indices, found.maps, strict=True)}
    return map_grades([maps[index] for index in indices], [truth(source[index]) for index in indices])


def answers_to(
    questions: Sequence[Sequence[tuple[int, str]]],
    loaded: LoadedModel,
    source: Source,
    plans: Sequence[CategoryPlan],
    *,
    watch: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> list[list[str]]:
    """What the model says, greedily, to questions (sample index, text) about queries of every plan, one by one and
    against all references of the plan."""
    encoder = Encoder(loaded.config, loaded.tokenizer, prompt_of(loaded.info))
    special = loaded.config.tokens
    model = make_module(loaded.config, jnp.dtype(trained_dtype(loaded)))
    generator = Generator(model, loaded.params, (special.chat_end, special.end_of_text))
    texts: list[list[str]] = []
    batches = range(0, len(plans), AT_ONCE)
    for start in watch(batches, len(batches)):
        part = zip(plans[start : start + AT_ONCE], questions[start : start + AT_ONCE], strict=True)
        for blocks in generator([encoder(_asking(source, *one)) for one in part], LONGEST):
            texts.append([loaded.tokenizer.decode(tokens) for tokens in blocks])
    return texts


def chosen(source: Source, plan: CategoryPlan, count: int, seed: int) -> list[int]:
    """`count` queries of a plan, half of them defective as far as there are enough."""
    rng = np.random.default_rng([seed, len(plan.queries)])
    shuffled = [plan.queries[i] for i in rng.permutation(len(plan.queries))]
    defective = [i for i in shuffled if source.records[i].defective][: count // 2]
    good = [i for i in shuffled if not source.records[i].defective][: count - len(defective)]
    return [*defective, *good]


def _asking(source: Source, plan: CategoryPlan, questions: Sequence[tuple[int, str]]) -> Instance:
    seen = len(plan.references)
    blocks = tuple(Block((Turn(text),), (source[index].image,), seen) for index, text in questions)
    return Instance("answers", blocks, tuple(source[i].image for i in plan.references))


def truth(sample: Sample) -> Truth:
    return Truth(sample.defective, sample.defect.kind if sample.defect else None, place_of(sample))

"""A trained model against its controls, on products it has never seen; what a report of that shows.

Controls tell what was learned: the untrained model, references of a wrong product, and no references at all (what is
left then is a prior of where defects like to be).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from iadgpt_jax.checkpoint.load import LoadedModel
from iadgpt_jax.data.detection_prompt import DetectionPrompt
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.evaluate.answers import Answers
from iadgpt_jax.evaluate.evaluator import Draws, Evaluator
from iadgpt_jax.evaluate.gallery import GalleryItem
from iadgpt_jax.infer.margin import probability
from iadgpt_jax.models.registry import init_params

Watch = Callable[[Iterable, int], Iterable]


@dataclass(frozen=True)
class HeldOut:
    """results: {"held_out": …, "controls": …} as results.json has them; draws: those of the trained model; roc: margins
    and labels pooled over categories, per setting; prompt: the one they were detected with."""

    results: dict
    draws: Draws
    roc: dict[str, tuple[np.ndarray, np.ndarray]]
    prompt: DetectionPrompt


def evaluate_held_out(
    loaded: LoadedModel,
    source: Source,
    shots: Sequence[int],
    draws: int,
    *,
    seed: int = 0,
    controls: bool = True,
    categories=None,
    watch: Callable[[str], Watch] = lambda what: lambda items, total: items,
) -> HeldOut:
    """`draws` reference draws of the trained model and, with `controls`, one of each control. watch(what) gives the
    progress of one part."""
    evaluator = Evaluator(loaded, shots)
    options = dict(seed=seed, categories=categories)
    shown = {"own": draws} | ({"wrong": 1, "none": 1} if controls else {})
    trained = evaluator.several(source, shown, watch=watch("the trained model"), **options)
    own = trained["own"]
    roc = {f"{k}-shot": pooled(own, k) for k in shots}
    controlled = {}
    if controls:
        untrained = init_params(loaded.config, jax.random.key(seed))
        controlled = {
            "untrained": evaluator.draws(source, 1, params=untrained, watch=watch("the untrained model"), **options),
            "wrong_reference": trained["wrong"],
            "no_reference": trained["none"],
        }
        roc |= {name: pooled(control, max(shots)) for name, control in controlled.items()}
    results = {
        "held_out": by_shots(own),
        "controls": {name: by_shots(control) for name, control in controlled.items()},
    }
    return HeldOut(results, own, roc, evaluator.prompt)


def by_shots(draws: Draws) -> dict[str, dict]:
    return {str(k): summary for k, summary in draws.summary.items()}


def pooled(draws: Draws, shots: int) -> tuple[np.ndarray, np.ndarray]:
    """Margins float[n] and labels bool[n] of the first draw over all categories."""
    found = draws.scored[0][shots].values()
    return np.concatenate([c.margins for c in found]), np.concatenate([c.labels for c in found])


def gallery(
    source: Source, held_out: HeldOut, shots: int, answers: Answers | None, hits: int = 8, misses: int = 6,
    seed: int = 0,
) -> list[GalleryItem]:  # fmt: skip
    """Inspections of the first draw at `shots`, drawn at random among hits and among misses, two hits on good parts.

    A hit is a right verdict. Where an explanation was generated (`answers`) it follows the verdict.
    """
    plans = {index: plan for plan in held_out.draws.plans[0] for index in plan.queries}
    rows = []
    for name, found in held_out.draws.scored[0][shots].items():
        low, high = float(np.min(found.maps)), float(np.max(found.maps))
        for index, margin, label, map_ in zip(found.indices, found.margins, found.labels, found.maps, strict=True):
            if answers is None or index in answers.texts:
                rows.append((name, index, margin, label, map_, low, high))
    rng = np.random.default_rng(seed)
    rows = [rows[i] for i in rng.permutation(len(rows))]
    right = [row for row in rows if (row[2] > 0) == row[3]]
    wrong = [row for row in rows if (row[2] > 0) != row[3]][:misses]
    good = [row for row in right if not row[3]][:2]
    items = [row for row in right if row[3]][: hits - len(good)] + good
    prompt = held_out.prompt
    return [item(source, prompt, plans[row[1]].references[:shots], *row, answers) for row in [*items, *wrong]]


def item(
    source, prompt: DetectionPrompt, references, name, index, margin, label, map_, low, high, answers: Answers | None
) -> GalleryItem:
    sample = source[index]
    said = prompt.verdict(margin > 0)
    if answers is not None:
        said += f". {answers.texts[index]}"
    return GalleryItem(
        references=[source[i].image for i in references], query=sample.image, mask=sample.mask, map=map_, low=low,
        high=high, score=probability(margin), label=label, category=name, answer=said,
        truth=f"{prompt.verdict(label)}. {prompts.reasoning(sample)}",
        verdict="hit" if (margin > 0) == label else "miss",
    )  # fmt: skip

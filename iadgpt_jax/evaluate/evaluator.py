"""A loaded model that scores whole categories: the road from a source to metrics, per draw and shots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jax.sharding import Mesh

from iadgpt_jax.checkpoint.load import LoadedModel, trained_dtype
from iadgpt_jax.data.detection_prompt import DetectionPrompt, prompt_of
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.evaluate.measure import combine, measure
from iadgpt_jax.evaluate.protocol import CategoryPlan, draw_plans
from iadgpt_jax.evaluate.raw import Scores
from iadgpt_jax.evaluate.scoring import Scored, Setting, batch_room, run, score_groups
from iadgpt_jax.evaluate.work import Group
from iadgpt_jax.infer.scorer import Scorer
from iadgpt_jax.models.attention import choose
from iadgpt_jax.models.registry import make_module
from iadgpt_jax.sharding import ShardingRules, parts

AT_ONCE = 24  # queries a device scores together, each at all shot counts


@dataclass(frozen=True)
class Draws:
    """What several draws gave. summary: {shots: as metrics.summarize says}; scored, plans: of every draw, in order."""

    summary: dict[int, dict]
    scored: list[Scored]
    plans: list[list[CategoryPlan]]


class Evaluator:
    """Scores sources with one model at some shot counts; compiled for a source's sizes by its first batch."""

    def __init__(
        self, loaded: LoadedModel, shots: Sequence[int], *, at_once: int = AT_ONCE, ratio: float = 1.0,
        dtype: str | None = None, mesh: Mesh | None = None, prompt: DetectionPrompt | None = None,
    ):  # fmt: skip
        """`ratio` r of compression. `dtype` of computing and `prompt` to detect with; default: those of training.
        `mesh` is where the model was loaded, default: one device; each device scores `at_once` queries together."""
        self.loaded, self.shots, self.ratio = loaded, tuple(shots), ratio
        self.prompt = prompt or prompt_of(loaded.info)
        self.encoder = Encoder(loaded.config, loaded.tokenizer, self.prompt)
        kind, rules = jnp.dtype(dtype or trained_dtype(loaded)), ShardingRules()
        self.at_once = at_once if mesh is None else at_once * parts(mesh, rules.batch)
        self.model = make_module(loaded.config, kind, kernels=choose("auto", mesh, rules, kind))
        self.scorer = self._scorer(loaded.params)

    def _scorer(self, params) -> Scorer:
        return Scorer(self.model, params, self.encoder, map_space=self.loaded.info["map_space"])

    def room(self, queries: Sequence[Sequence[int]]) -> int:
        """Places of the batches in which these queries, of all groups of an evaluation, are scored."""
        return batch_room(self.scorer, queries, self.at_once)

    def score_groups(
        self, source: Source, groups: Sequence[Group], room: int,
        watch: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    ) -> Iterator[tuple[Group, list[Scores]]]:  # fmt: skip
        """Every group with its scores, one after the other: see scoring.score_groups."""
        return score_groups(self.scorer, source, groups, self.shots, room, ratio=self.ratio, watch=watch)

    def draws(self, source: Source, count: int, *, references: str = "own", **options) -> Draws:
        """`count` reference draws of every category. `options` as those of `several`."""
        return self.several(source, {references: count}, **options)[references]

    def several(
        self,
        source: Source,
        counts: Mapping[str, int],
        *,
        seed: int = 0,
        categories=None,
        params=None,
        watch: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    ) -> dict[str, Draws]:
        """Draws of several kinds of references, run together: {kind: how many} -> {kind: Draws}. `params` stand in for
        the model's own (an untrained control)."""
        kinds = [kind for kind, count in counts.items() for _ in range(count)]
        numbers = [number for count in counts.values() for number in range(count)]
        settings = [
            Setting(draw_plans(source, self.shots, number, seed, kind, categories), kind)
            for kind, number in zip(kinds, numbers, strict=True)
        ]
        scorer = self.scorer if params is None else self._scorer(params)
        scored = run(scorer, source, settings, self.shots, ratio=self.ratio, most=self.at_once, watch=watch)
        found = {}
        for kind in counts:
            of_kind = [number for number, name in enumerate(kinds) if name == kind]
            draws = [scored[number] for number in of_kind]
            summary = {k: combine([measure(source, draw[k]) for draw in draws])[0] for k in self.shots}
            found[kind] = Draws(summary, draws, [settings[number].plans for number in of_kind])
        return found

"""A loaded model, compiled once to score whole categories: the road from a source to metrics, per draw and shots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.pack import RowShape
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.inspect import detect
from iadgpt_jax.data.tasks.instance import Instance
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.metrics import summarize
from iadgpt_jax.evaluate.protocol import CategoryPlan, CategoryScores, draw_plans, measure, run_draw
from iadgpt_jax.infer.load import trained_dtype
from iadgpt_jax.infer.score import make_score
from iadgpt_jax.models.attention import Lanes
from iadgpt_jax.models.iadgpt import IADGPT
from iadgpt_jax.train.checkpoint import LoadedModel

LANES = 6  # query blocks that share a row's references


@dataclass(frozen=True)
class Draws:
    """What several draws gave. summary: {shots: metrics.summarize(...)}; scored and plans of every draw, in order."""

    summary: dict[int, dict]
    scored: list[dict[int, dict[str, CategoryScores]]]
    plans: list[list[CategoryPlan]]


class Evaluator:
    """Scores sources with one model. Rows hold one set of references and LANES queries that see their first k."""

    def __init__(
        self, loaded: LoadedModel, example: Source, shots: Sequence[int], *, rows: int = 8, ratio: float = 1.0,
        dtype: str | None = None,
    ):  # fmt: skip
        """`example`: any source of images of the size to come; its first image sizes the rows. `dtype` of computing;
        default: that of training."""
        if not loaded.config.taps:
            raise InputError(f"model {loaded.config.name!r} carries no anomaly maps (taps=False), so it cannot inspect")
        self.loaded, self.shots, self.rows, self.ratio = loaded, tuple(shots), rows, ratio
        self.encoder = Encoder(loaded.config, loaded.tokenizer)
        self.shape = self._row_shape(example)
        normal, anomalous = (loaded.tokenizer.encode(a)[0] for a in (prompts.NORMAL_ANSWER, prompts.ANOMALOUS_ANSWER))
        model = IADGPT(loaded.config, jnp.dtype(dtype or trained_dtype(loaded)))
        self._score = jax.jit(make_score(model, self.shape.lanes, normal, anomalous, loaded.info["map_space"]))

    def _row_shape(self, example: Source) -> RowShape:
        sample = example[0]
        most = max(self.shots)
        instance = Instance("evaluate", (detect(sample, most),), (sample.image,) * most, self.ratio)
        encoded = self.encoder(instance)
        prefix, block = len(encoded.shared), encoded.blocks[0]
        lane = len(block.segment)
        return RowShape(
            slots=prefix + LANES * lane, images=most + LANES, patches=len(encoded.images[0].patches), maps=LANES,
            keyword_rows=len(block.keyword_rows), targets=LANES * len(block.targets), mask_side=8,
            lanes=Lanes(prefix, ((LANES, lane),)),
        )  # fmt: skip

    def draws(
        self,
        source: Source,
        count: int,
        *,
        seed: int = 0,
        references: str = "own",
        categories=None,
        params=None,
        full: bool = False,
        watch: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    ) -> Draws:
        """`count` reference draws of every category. `params` stand in for the model's own (an untrained control)."""
        params = self.loaded.params if params is None else params
        plans = [draw_plans(source, self.shots, d, seed, references, categories) for d in range(count)]
        scored = [
            run_draw(
                lambda rows: self._score(params, rows), source, plan, self.encoder, self.shape, self.rows, self.shots,
                ratio=self.ratio, references=references, watch=watch,
            )
            for plan in plans
        ]  # fmt: skip
        summary = {k: summarize([measure(source, draw[k], full) for draw in scored]) for k in self.shots}
        return Draws(summary, scored, plans)

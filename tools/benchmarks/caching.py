"""caching: how much the KV cache of the references speeds up scoring. Both sides are ours: the queries of `score`
against one cached prefix, and as whole prompts, each with its references.
"""

from __future__ import annotations

import jax
import numpy as np

from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.infer.score_rows import make_score_rows
from iadgpt_jax.infer.scorer import Scorer
from tools.benchmarks.measure import Measurement, interleaved
from tools.benchmarks.pair import Pair
from tools.benchmarks.score import QUERIES, REFERENCES, bounds, cached_scores

BATCHES = (1, 4)  # prompts in a batch; the faster one counts


def caching(pair: Pair) -> Measurement:
    references, queries = pair.photographs(REFERENCES), pair.photographs(QUERIES, seed=1)
    scorer = Scorer(pair.model, pair.compute_params, pair.encoder)
    encodeds = [pair.inspection(references, [query], answered=False) for query in queries]
    shape = RowShape(
        slots=encodeds[0].slots, images=REFERENCES + 1, patches=pair.patches, maps=1,
        keyword_rows=len(encodeds[0].blocks[0].keyword_rows), targets=1, mask_side=1,
    )  # fmt: skip
    score = jax.jit(make_score_rows(pair.model, None, scorer.answers))
    batches = {
        size: [
            jax.device_put(pack(encodeds[at : at + size], size, shape, pair.config.vision).rows)
            for at in range(0, QUERIES, size)
        ]
        for size in BATCHES
    }

    def whole(size: int) -> tuple[np.ndarray, np.ndarray]:
        parts = [score(pair.compute_params, rows) for rows in batches[size]]
        margins, maps = zip(*jax.device_get(parts), strict=True)
        return np.concatenate(margins)[:, 0], np.concatenate(maps)[:, 0]

    def cached() -> tuple[np.ndarray, np.ndarray]:
        return cached_scores(scorer, references, queries)

    scored = cached()
    agreement = {
        what: (float(np.abs(mine - other).max()), bound)
        for what, mine, other, bound in zip(("margins", "maps"), scored, whole(BATCHES[0]), bounds(pair), strict=True)
    }
    seconds = {size: min(runs) for size, runs in interleaved({n: lambda n=n: whole(n) for n in batches}, 1).items()}
    best = min(seconds, key=seconds.get)
    return Measurement(
        name="caching", unit="ms per query", pieces=QUERIES, ours=cached, peer=lambda: whole(best), agreement=agreement,
        work=f"scores and maps of {QUERIES} queries of one category against {REFERENCES} references of {pair.side} "
        f"pixels, both sides ours: references cached, or in every prompt of {shape.slots} tokens, batches of {best}, "
        "encoded beforehand",
        target=None, sides=("cached", "whole"),
    )  # fmt: skip

"""sharing: how much shared references speed up training. Both sides are ours: the stage-3 step of `train_shared` on one
laned row, and the same queries as separate prompts with their own references, in rows without padding.
"""

from __future__ import annotations

from tools.benchmarks.measure import Measurement, interleaved
from tools.benchmarks.pair import Pair
from tools.benchmarks.train import QUERIES, REFERENCES, OurStep, Work, agreement, shared, work_shape

SEPARATE_ROWS = (QUERIES, QUERIES // 2)  # of separate prompts, one or two to a row; the faster one counts


def sharing(pair: Pair) -> Measurement:
    work = shared(pair)
    together = OurStep(pair, work, work_shape(work, 1, pair.patches), 1)
    alone = Work([prompt.encoded for prompt in work.prompts], [])
    shapes = {rows: work_shape(alone, rows, pair.patches) for rows in SEPARATE_ROWS}
    apart = {rows: OurStep(pair, alone, shape, rows) for rows, shape in shapes.items()}
    first = [together(), together()]
    found = [agreement(pair, first, [step(), step()]) for step in apart.values()]
    agreed = {what: max(one[what] for one in found) for what in found[0]}
    seconds = {rows: min(runs) for rows, runs in interleaved(apart, 1).items()}
    best = min(seconds, key=seconds.get)
    return Measurement(
        name="sharing", unit="ms per query", pieces=QUERIES, ours=together, peer=apart[best], agreement=agreed,
        work=f"one stage-3 step, both sides ours: {QUERIES} queries of one category that share {REFERENCES} references "
        f"of {pair.side} pixels ({together.described}), or have their own ({apart[best].described})",
        target=2.2, flops=together.flops, sides=("shared", "apart"),
    )  # fmt: skip

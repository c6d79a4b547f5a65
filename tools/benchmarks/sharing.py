"""sharing: what shared references are worth in training. Both sides are ours: the stage-3 step of `train_shared` on one
laned row, and the same queries each with references of their own, in rows without padding.
"""

from __future__ import annotations

from tools.benchmarks.measure import Measurement, interleaved
from tools.benchmarks.pair import Pair
from tools.benchmarks.train import QUERIES, REFERENCES, OurStep, Work, agreement, row_shape, shared

APART = (QUERIES, QUERIES // 2)  # rows of the unshared prompts: one in each, or two; the faster counts


def sharing(pair: Pair) -> Measurement:
    work = shared(pair)
    together = OurStep(pair, work, row_shape(work, 1, pair.patches), 1)
    alone = Work([prompt.encoded for prompt in work.prompts], [])
    shapes = {rows: row_shape(alone, rows, pair.patches) for rows in APART}
    apart = {rows: OurStep(pair, alone, shape, rows) for rows, shape in shapes.items()}
    first = [together(), together()]
    found = [agreement(pair, first, [step(), step()]) for step in apart.values()]
    agreed = {what: max(one[what] for one in found) for what in found[0]}
    seconds = {rows: min(runs) for rows, runs in interleaved(apart, 1).items()}
    best = min(seconds, key=seconds.get)
    return Measurement(
        name="sharing", unit="ms per query", pieces=QUERIES, ours=together, peer=apart[best], agreement=agreed,
        work=f"one stage-3 step of ours, twice: {QUERIES} queries of one category behind the same {REFERENCES} "
        f"references of {pair.side} pixels ({together.told}), or each behind its own ({apart[best].told})",
        target=2.2, flops=together.flops, sides=("shared", "apart"),
    )  # fmt: skip

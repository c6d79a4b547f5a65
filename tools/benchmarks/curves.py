"""curves: how time and memory of a training step grow with sequence length, images per row, shots and compression.

One thing varies at a time, starting from a stage-3 row of one category. A point is the fastest of its runs, because
single runs are now and then slowed by seconds while the kernel looks for large pages. Memory is what XLA reserves for
the step: arguments and temporaries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from iadgpt_jax.data.encode import Encoded, Encoder
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance
from tools.benchmarks.measure import machine, versions
from tools.benchmarks.pair import Pair
from tools.benchmarks.train import OurStep, Work, work_shape

LENGTHS = (256, 512, 1024, 2048)
IMAGES = (2, 4, 8, 16)
SHOTS = (1, 2, 4, 8)
RATIOS = (1.0, 0.4, 0.2, 0.1, 0.05)
QUERIES, REFERENCES = 6, 4
MOST_PHOTOGRAPHS = 16  # in any point

AXES = {
    "length": "decoder slots, 2 images",
    "images": "images in a row",
    "shots": f"references, {QUERIES} queries",
    "ratio": f"r, {REFERENCES} references, {QUERIES} queries",
}


def curves(pair: Pair, repeats: int, say: Callable[[str], None]) -> dict:
    """{axis: [{"value", "slots", "images", "seconds", "bytes"}, …]} with machine and versions."""
    result: dict = {"name": "curves", "size": pair.config.name, "axes": AXES, "points": {axis: [] for axis in AXES}}
    for axis, value, encoded in points(pair):
        work = Work([encoded], [])
        shape = work_shape(work, 1, pair.patches, flat=axis in ("length", "images"))
        step = OurStep(pair, work, shape, 1)
        bytes_ = step.bytes
        step()
        step()
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        point = {
            "value": shape.slots if axis == "length" else value, "slots": shape.slots, "images": shape.images,
            "seconds": min(seconds), "bytes": bytes_,
        }  # fmt: skip
        result["points"][axis].append(point)
        say(f"{AXES[axis]}: {value:g}: {shape.slots} slots, {1e3 * point['seconds']:.0f} ms, {bytes_ / 2**20:.0f} MiB")
    return result | {"machine": machine(), "versions": versions()}


def points(pair: Pair) -> Iterator[tuple[str, float, Encoded]]:
    """(axis, value on it, the encoded instance to train on) of every point."""
    pictures, encoder = pair.photographs(MOST_PHOTOGRAPHS), pair.encoder
    bare = encoder(inspection(pictures[:1], pictures[1:2]))
    for length in LENGTHS:
        question = encoder.prompt.question + "!" * (length - bare.slots)  # about a token each
        longer = Encoder(encoder.config, encoder.tokenizer, replace(encoder.prompt, question=question))
        yield "length", length, longer(inspection(pictures[:1], pictures[1:2]))
    for images in IMAGES:
        yield "images", images, encoder(inspection(pictures[: images - 1], pictures[images - 1 : images]))
    for shots in SHOTS:
        yield "shots", shots, encoder(inspection(pictures[:shots], pictures[shots : shots + QUERIES]))
    references, queries = pictures[:REFERENCES], pictures[REFERENCES : REFERENCES + QUERIES]
    for ratio in RATIOS:
        yield "ratio", ratio, encoder(inspection(references, queries, ratio))


def inspection(references, queries, ratio: float = 1.0) -> Instance:
    """Queries with answers, each attending to all references."""
    detection = Detection(False, np.zeros(queries[0].shape[:2], np.uint8))
    blocks = [Block(images=(query,), sees=len(references), detection=detection) for query in queries]
    return Instance("inspect", tuple(blocks), tuple(references), ratio)


def draw(result: dict, file: Path) -> None:
    """One picture: a panel for each axis of `AXES`, time on the left scale and memory on the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(result["axes"]))
    for panel, (axis, title) in zip(panels, result["axes"].items(), strict=True):
        values, seconds, bytes_ = (
            [point[key] for point in result["points"][axis]] for key in ("value", "seconds", "bytes")
        )
        panel.plot(values, [1e3 * s for s in seconds], "o-", color="#2563a8", label="time")
        panel.set_xlabel(title)
        panel.set_ylim(bottom=0)
        panel.set_xlim(left=0)
        panel.set_ylabel("ms per step", color="#2563a8")
        memory = panel.twinx()
        memory.plot(values, [b / 2**20 for b in bytes_], "s--", color="#b8561b", label="memory")
        memory.set_ylim(bottom=0)
        memory.set_ylabel("MiB", color="#b8561b")
    figure.savefig(file)

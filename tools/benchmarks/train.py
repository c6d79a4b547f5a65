"""train and train_shared: a stage-3 step with attention supervision, ours packed, the peer's one prompt per query.

train: prompts of 1, 2 and 4 shots that share nothing. train_shared: six 4-shot queries of one category, which share
their references in ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
import torch

from iadgpt_jax.data.encode import Encoded
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.flops import step_flops
from iadgpt_jax.models.attention import Lanes
from iadgpt_jax.models.iadgpt.losses import LossWeights
from iadgpt_jax.models.iadgpt.objective import AnswersAndMaps
from iadgpt_jax.train.optimizer import make_optimizer
from iadgpt_jax.train.state import create
from iadgpt_jax.train.step import make_train_step
from tools.benchmarks.measure import Measurement, interleaved
from tools.benchmarks.pair import FROZEN, Pair
from tools.benchmarks.prompts_torch import Prompt, batch_of
from tools.benchmarks.train_torch import Trainer

RATE = 1e-4
SHOTS, ROWS = (1, 2, 4, 1, 2, 4), 4  # of the prompts of `train`
REFERENCES, QUERIES = 4, 6  # of `train_shared`
MASK_SIDE = 112

Metrics = tuple[float, float]  # of a step: loss, norm of the gradient


@dataclass(frozen=True)
class Work:
    """The same training work in two forms: encoded instances for our packer, and one prompt per query for the peer."""

    encodeds: list[Encoded]
    prompts: list[Prompt]


def apart(pair: Pair) -> Work:
    """Prompts of SHOTS, each with photographs of its own."""
    encodeds, prompts = [], []
    for number, shots in enumerate(SHOTS):
        pictures = pair.photographs(shots + 1, seed=number)
        encoded = pair.inspection(pictures[:-1], pictures[-1:], defective=number % 2)
        encodeds.append(encoded)
        prompts.append(Prompt(encoded, pictures))
    return Work(encodeds, prompts)


def shared(pair: Pair) -> Work:
    """QUERIES queries of one category behind the same REFERENCES."""
    references, queries = pair.photographs(REFERENCES), pair.photographs(QUERIES, seed=1)
    prompts = [
        Prompt(pair.inspection(references, [query], defective=number % 2), [*references, query])
        for number, query in enumerate(queries)
    ]
    return Work([pair.inspection(references, queries)], prompts)


def work_shape(work: Work, rows: int, patches: int, flat: bool = False) -> RowShape:
    """The smallest shape with which `rows` rows hold the work. A single instance gets lanes for its blocks, unless
    `flat`. Flat rows are filled evenly; the packer (first fit, largest first) finds the same assignment."""
    lanes, loads = None, [[] for _ in range(rows)]
    for encoded in sorted(work.encodeds, key=lambda encoded: encoded.slots, reverse=True):
        min(loads, key=lambda load: sum(one.slots for one in load)).append(encoded)
    slots = max(sum(encoded.slots for encoded in load) for load in loads)
    blocks = [[block for encoded in load for block in encoded.blocks] for load in loads]
    if len(work.encodeds) == 1 and not flat:
        only = work.encodeds[0]
        lanes = Lanes(len(only.shared), ((len(only.blocks), max(len(block.segment) for block in only.blocks)),))
        slots = lanes.slots
    return RowShape(
        slots=slots, images=max(sum(len(encoded.images) for encoded in load) for load in loads), patches=patches,
        maps=max(map(len, blocks)), keyword_rows=max(len(block.keyword_rows) for load in blocks for block in load),
        targets=max(sum(len(block.targets) for block in load) for load in blocks), mask_side=MASK_SIDE, lanes=lanes,
    )  # fmt: skip


def train(pair: Pair) -> Measurement:
    shots = ", ".join(map(str, SHOTS))
    return _measurement(
        pair, "train", apart(pair), ROWS, 1.5,
        f"one stage-3 step: {len(SHOTS)} prompts of {shots} references and one query of {pair.side} pixels each",
    )  # fmt: skip


def train_shared(pair: Pair) -> Measurement:
    return _measurement(
        pair, "train_shared", shared(pair), 1, 3.0,
        f"one stage-3 step: {QUERIES} queries of one category against its {REFERENCES} references, {pair.side} pixels",
    )  # fmt: skip


def _measurement(pair: Pair, name: str, work: Work, rows: int, target: float, described: str) -> Measurement:
    shape = work_shape(work, rows, pair.patches)
    step = OurStep(pair, work, shape, rows)
    peer = Trainer(pair.peer("eager", torch.float32), RATE)
    padded = [batch_of(work.prompts, pair.config, pair.device, MASK_SIDE)]
    single = [batch_of([prompt], pair.config, pair.device, MASK_SIDE) for prompt in work.prompts]
    agreed = agreement(pair, [step(), step()], [peer.step(padded), peer.step(padded)])
    lengths = sorted({len(prompt.encoded.shared) + len(prompt.encoded.blocks[0].segment) for prompt in work.prompts})
    described += f"; prompts of {', '.join(map(str, lengths))} tokens, our {rows} rows of {shape.slots} slots"
    # The peer runs one padded batch, or prompt by prompt without padding and with one backward pass; the faster counts.
    ways = {"padded": lambda: peer.step(padded), "prompt by prompt": lambda: peer.step(single)}
    seconds = {way: min(runs) for way, runs in interleaved(ways, 1).items()}
    best = min(seconds, key=seconds.get)
    return Measurement(
        name=name, unit="ms per query", pieces=len(work.prompts), ours=step, peer=ways[best], agreement=agreed,
        work=f"{described}; the peer's batch {best}", target=target, flops=step.flops,
    )  # fmt: skip


def agreement(pair: Pair, ours: Sequence[Metrics], theirs: Sequence[Metrics]) -> dict[str, tuple[float, float]]:
    """`Measurement.agreement` from the first two training steps of each side."""
    (loss, norm), (after, _) = ours
    (their_loss, their_norm), (their_after, _) = theirs
    return {
        "losses": (abs(loss - their_loss), 2e-2 if pair.on_gpu else 1e-4),
        "norms of the gradients, relative,": (abs(norm / their_norm - 1), 1e-1 if pair.on_gpu else 1e-3),
        "losses after an update": (abs(after - their_after), 5e-2 if pair.on_gpu else 1e-3),
    }


class OurStep:
    """One training step on the packed work: (loss, norm of the gradient before clipping). flops: the model's, by
    formula; described: its rows, for readers. Compiled here, once."""

    def __init__(self, pair: Pair, work: Work, shape: RowShape, rows: int):
        packed = pack(work.encodeds, rows, shape, pair.config.vision)
        if None in packed.where:
            raise ValueError(f"the work does not fit {rows} rows of {shape}")
        optimizer = make_optimizer(optax.constant_schedule(RATE), b1=0.9, b2=0.95, weight_decay=0.05, clip=1.0)
        step = make_train_step(AnswersAndMaps(pair.model, shape.lanes, LossWeights(), "probability"), optimizer)
        # Steps donate the state, so it starts from a copy of the parameters.
        self.state = create(jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), pair.params), FROZEN, optimizer)
        self.described = f"{rows} row{'s' * (rows > 1)} of {shape.slots} slots, {shape.images} images"
        self.rows = jax.device_put(packed.rows)
        self.run = jax.jit(step, donate_argnums=0).lower(self.state, self.rows).compile()
        self.flops = step_flops(pair.config, shape, rows, frozen=FROZEN, pairs=packed.tally.pairs / rows)

    def __call__(self) -> Metrics:
        self.state, metrics = self.run(self.state, self.rows)
        return float(metrics["loss"]), float(metrics["gradient_norm"])

    @property
    def bytes(self) -> int:
        """What XLA reserves on the device: arguments, whose memory the results reuse, and temporaries."""
        memory = self.run.memory_analysis()
        return memory.argument_size_in_bytes + memory.temp_size_in_bytes

"""Model FLOPs of a training or scoring step: what the mathematics needs, by formula, independent of what was compiled.

A matrix product of [m, k] by [k, n] costs 2·m·k·n; everything else is left out, as in the published counts (PaLM's
appendix B, MaxText). Unlike "6 · parameters · tokens" this counts attention by visible pairs (causal; in laned rows
lane by lane, so shared references count once), the ViT's window and full attention, vocabulary logits at targets
only, and keyword rows, and it leaves out the gradients that frozen parameters make unnecessary. Recomputation
(rematerialisation, or logits that a fused kernel computes again) is not counted, because it is no useful work.

    per_step = step_flops(model_config, RowShape.of(config.row), config.rows, frozen=config.frozen)
    mfu = per_step / seconds_per_step / (devices * peak_flops(jax.devices()[0].device_kind))

Rows are counted as if every slot were filled. Pass `pairs` where it is known how much of a row its instances attend
to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from iadgpt_jax.chips import find_chip
from iadgpt_jax.models.attention import Lanes
from iadgpt_jax.models.iadgpt.config import WAVES
from iadgpt_jax.models.protocols import ModelConfig
from iadgpt_jax.models.qwen2_5_vl.config import GROUPS


class Shape(Protocol):
    """The static sizes of a row: the fields of data/pack.RowShape used here."""

    slots: int
    images: int
    patches: int
    maps: int
    keyword_rows: int
    targets: int
    mask_side: int
    lanes: Lanes | None


@dataclass(frozen=True)
class Part:
    """FLOPs of one part of the model: forward, gradient with respect to its inputs, and to its weights."""

    forward: float
    inputs: float = 0.0
    weights: float = 0.0

    @property
    def total(self) -> float:
        return self.forward + self.inputs + self.weights


def step_flops(
    config: ModelConfig, shape: Shape, rows: int, *, frozen: str = "", maps: bool = True, pairs: float | None = None
) -> float:
    """Model FLOPs of one training step over `rows` rows, all devices together.

    frozen: config.frozen, the regular expression over paths of parameters that do not train. maps: whether maps are
    supervised (config.map_space is not "none"). pairs: visible (query, key) pairs per row; default: `visible_pairs`.
    """
    return sum(part.total for part in train_parts(config, shape, rows, frozen, maps, pairs).values())


def score_flops(config: ModelConfig, shape: Shape, rows: int, *, pairs: float | None = None) -> float:
    """Model FLOPs of scoring `rows` rows: one forward pass with maps, logits only where answers stand."""
    parts = _forward(config, shape, rows, shape.maps, True, pairs)
    return sum(parts.values()) - parts["upsampling"]


def query_flops(config: ModelConfig, shape: Shape, queries: int, prefix: int, *, pairs: float | None = None) -> float:
    """Model FLOPs of scoring queries, each in a lane of its own (`shape`: one image), against `prefix` slots of cached
    references, whose own cost is not counted.

    pairs: visible pairs per lane; default: the whole prefix, and the lane causally.
    """
    if pairs is None:
        pairs = shape.slots * prefix + visible_pairs(shape)
    parts = _forward(config, shape, queries, shape.maps, True, pairs)
    heads = config.language.heads * config.language.head_width
    to_prefix = 2.0 * GROUPS * queries * shape.maps * shape.keyword_rows * heads * prefix
    return sum(parts.values()) - parts["upsampling"] - parts["compression"] + to_prefix


def peak_flops(device_kind: str) -> float | None:
    """Peak dense bfloat16 FLOP/s of a JAX device by its `device_kind`; None where none is published (a CPU)."""
    chip = find_chip(device_kind)
    return chip.flops if chip else None


def visible_pairs(shape: Shape) -> float:
    """(query, key) pairs of a full row: causal over a flat row; in a laned one every lane attends to the prefix and,
    causally, to itself."""
    if shape.lanes is None:
        return shape.slots * (shape.slots + 1) / 2
    prefix = shape.lanes.prefix
    pairs = prefix * (prefix + 1) / 2
    return pairs + sum(count * (lane * prefix + lane * (lane + 1) / 2) for count, lane in shape.lanes.groups)


def train_parts(
    config: ModelConfig, shape: Shape, rows: int, frozen: str = "", maps: bool = True, pairs: float | None = None
) -> dict[str, Part]:
    """FLOPs of a training step by part of the model. Arguments as in `step_flops`."""
    forward = _forward(config, shape, rows, shape.targets, maps, pairs)
    trains = _trains(frozen)
    # A part needs gradients with respect to its inputs if anything before it trains, or its own norms and biases.
    tower = trains("vision/patch_embed") or trains("vision/groups/window/block/mlp/up/kernel")
    gates = config.taps and trains("vision/fusion/gates")
    merger = trains("vision/merger/fc1/kernel")
    decoder_inputs = tower or gates or merger or trains("language/embedding")
    layers = trains("language/groups/plain/mlp/up/kernel")
    after = decoder_inputs or layers
    head = trains("language/embedding" if config.language.tied else "language/head")

    def part(name: str, inputs: bool, weights: bool, products: int = 1) -> Part:
        return Part(forward[name], products * forward[name] * inputs, forward[name] * weights)

    blocks = trains("vision/groups/window/block/mlp/up/kernel")
    return {
        "patch_embedding": part("patch_embedding", False, trains("vision/patch_embed")),
        "vision_blocks": part("vision_blocks", tower, blocks),
        "vision_window_attention": part("vision_window_attention", tower, False, 2),  # both factors are inputs
        "vision_full_attention": part("vision_full_attention", tower, False, 2),
        "fusion": part("fusion", tower, gates),
        "merger": part("merger", tower or gates or merger, merger),
        "places": part("places", False, config.places and trains("places/kernel")),
        "compression": Part(forward["compression"]),
        "decoder_layers": part("decoder_layers", after, layers),
        "decoder_attention": part("decoder_attention", after, False, 2),
        "map_rows": part("map_rows", after, False, 2),
        "upsampling": part("upsampling", after, False),
        "vocabulary": part("vocabulary", after, head),
    }


def _trains(frozen: str) -> Callable[[str], bool]:
    pattern = re.compile(frozen) if frozen else None
    return lambda path: pattern is None or not pattern.search(path)


def _forward(
    config: ModelConfig, shape: Shape, rows: int, targets: int, maps: bool, pairs: float | None
) -> dict[str, float]:
    """FLOPs of a forward pass over `rows` rows by part, `targets` vocabulary rows each."""
    v, c = config.vision, config.language
    images, patches = rows * shape.images, rows * shape.images * shape.patches
    per_image = shape.patches // v.merge**2  # merged tokens
    heads, kv = c.heads * c.head_width, c.kv_heads * c.head_width
    with_maps = bool(maps and config.taps)
    side, grid = shape.mask_side, int(per_image**0.5)
    keywords = rows * shape.maps * shape.keyword_rows
    return {
        **v.flops(images, shape.patches),
        "fusion": 2.0 * (GROUPS - 1) * patches * v.width if config.taps else 0.0,
        "places": 2.0 * images * per_image * (WAVES**2 - 1) * v.out if config.places else 0.0,
        "compression": 2.0 * images * per_image**2 * v.out,
        "decoder_layers": 2.0 * rows * shape.slots * c.depth * (c.width * (2 * heads + 2 * kv) + 3 * c.width * c.mlp),
        "decoder_attention": 4.0 * rows * c.depth * heads * (visible_pairs(shape) if pairs is None else pairs),
        "map_rows": with_maps * 2.0 * GROUPS * keywords * (heads * shape.slots + 2 * per_image),
        "upsampling": with_maps * 2.0 * rows * shape.maps * 2 * side * grid * (grid + side),
        "vocabulary": 2.0 * rows * targets * c.width * c.vocab,
    }

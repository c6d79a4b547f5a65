"""A small IADGPT with lively random weights, and random inspections for it: what the tests of invariants work on."""

from __future__ import annotations

import functools

import jax
import numpy as np

from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance, Turn
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.models.iadgpt.config import ModelConfig
from iadgpt_jax.models.qwen2_5_vl.config import LanguageConfig, VisionConfig
from iadgpt_jax.models.registry import init_params, preset

QUICK = {"xla_backend_optimization_level": 0}  # compiling dominates these tests
SIDE = 4  # merged tokens along a full image's side: four windows of 2×2
BUDGET = 64  # its patches


def small_config(**changes) -> ModelConfig:
    """Every feature at the smallest widths that shard: windows, four groups in both towers, GQA, the tiny tokenizer."""
    vision = dict(depth=8, width=32, mlp=48, heads=4, window=56, full_blocks=(1, 3, 5, 7), out=32)
    language = dict(
        depth=4, width=32, mlp=48, heads=4, kv_heads=2, vocab=1536, tied=True, mrope_section=(2, 1, 1), rope_theta=1e4
    )
    vision.update(changes.pop("vision", {}))
    language.update(changes.pop("language", {}))
    return ModelConfig(
        name="small", vision=VisionConfig(**vision), language=LanguageConfig(**language),
        tokens=preset("tiny").tokens, init="compare", **changes,
    )  # fmt: skip


@functools.cache
def small_encoder(**changes) -> Encoder:
    return Encoder(small_config(**changes), tiny_tokenizer())


def lively_params(config: ModelConfig, seed: int = 0):
    """Float32 parameters with no leaf at a special value: gates, norms and biases away from 0 and 1."""
    shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        kind = path[-1].key
        mean = 1.0 if kind == "scale" else 0.0
        spread = {"scale": 0.2, "bias": 0.2, "gates": 0.5, "patch_embed": 0.03, "embedding": 0.5}.get(kind, 0.18)
        return rng.normal(mean, spread, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(draw, shapes)


def draw_image(rng: np.random.Generator, high: int = SIDE, wide: int = SIDE) -> np.ndarray:
    """uint8 image of high × wide merged tokens, in flat colours so that tokens of one image differ strongly."""
    colours = rng.integers(0, 256, (2 * high, 2 * wide, 3), dtype=np.uint8)
    return colours.repeat(14, axis=0).repeat(14, axis=1)


def draw_mask(rng: np.random.Generator, side: int) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    y, x = rng.integers(0, side // 2, 2)
    mask[y : y + side // 3, x : x + side // 3] = 1
    return mask


def detection(rng: np.random.Generator, sees: int, high: int = SIDE, wide: int = SIDE, masked: bool = True) -> Block:
    """A detection question about one image, supervised by a random mask or by none."""
    defective = bool(rng.integers(2))
    image = draw_image(rng, high, wide)
    mask = None
    if masked:
        mask = draw_mask(rng, image.shape[0]) if defective else np.zeros(image.shape[:2], np.uint8)
    return Block(images=(image,), sees=sees, detection=Detection(defective, mask))


def question(rng: np.random.Generator, sees: int, high: int = SIDE, wide: int = SIDE) -> Block:
    """A question in words and a follow-up, without a map."""
    turns = (Turn(prompts.REASON, "There is a scratch at the top left."), Turn("Is it large?", "No."))
    return Block(turns, (draw_image(rng, high, wide),), sees)


def inspection(seed: int, shots=(1, 2), references: int = 2, ratio: float = 1.0, words: bool = True) -> Instance:
    """`references` shared images, a detection block for each of `shots` and, with `words`, one question in words."""
    rng = np.random.default_rng(seed)
    shared = tuple(draw_image(rng) for _ in range(references))
    blocks = [detection(rng, sees) for sees in shots]
    if words:
        blocks.append(question(rng, references))
    return Instance("inspect", tuple(blocks), shared, ratio)


def apart(instance: Instance) -> list[Instance]:
    """The same questions as prompts of their own: each block with copies of the shared images that it sees."""
    return [
        Instance(instance.task, (block,), instance.shared[: block.sees], instance.ratio) for block in instance.blocks
    ]

"""The same random weights in transformers' Qwen2.5-VL and in ours, and the same images and text laid out for both.

The layouts here are written with plain loops from their description, apart from the package's own encoder, so that a
parity test compares two independent roads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import numpy as np
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from iadgpt_jax.convert.config import hf_config_from_model
from iadgpt_jax.convert.names import hub_name
from iadgpt_jax.convert.tree import params_from_hf
from iadgpt_jax.models.iadgpt.config import ModelConfig
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.qwen2_5_vl.config import LanguageConfig, SpecialTokens, VisionConfig
from iadgpt_jax.models.rows import Rows

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
TOKENS = SpecialTokens(end_of_text=0, chat_start=1, chat_end=2, vision_start=3, vision_end=4, image=5)
QUICK = {"xla_backend_optimization_level": 0}  # compiling dominates these tests
FIRST_TEXT = 7  # ids below are special (6 is transformers' video token)


@dataclass
class Pair:
    config: ModelConfig
    torch_model: Qwen2_5_VLForConditionalGeneration
    params: dict
    model: IADGPT = field(init=False)

    def __post_init__(self):
        self.model = IADGPT(self.config)
        self._logits = jax.jit(
            lambda params, rows: self.model.apply({"params": params}, rows, method=_all_logits),
            compiler_options=QUICK,
        )

    @property
    def visual(self):
        return self.torch_model.model.visual

    def logits(self, rows: Rows) -> np.ndarray:
        """float32[B, S, V]."""
        return np.asarray(self._logits(self.params, rows))


def _all_logits(model: IADGPT, rows: Rows):
    return model.logits(model(rows, maps=False).hidden)


def make_pair(config: ModelConfig, seed: int = 0) -> Pair:
    """Both models with equal float32 weights; biases and norms are drawn too, so that none of them can go missing."""
    torch.manual_seed(seed)
    torch_model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**hf_config_from_model(config, "float32"))).eval()
    with torch.no_grad():
        for name, parameter in torch_model.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(1.0 if "norm" in name or "ln_q" in name else 0.0, 0.2)
            elif "embed_tokens" in name or "lm_head" in name:
                parameter.normal_(0.0, 0.5)
            else:
                parameter.normal_(0.0, parameter[0].numel() ** -0.5)
    source = {hub_name(name): tensor.numpy() for name, tensor in torch_model.state_dict().items()}
    return Pair(config, torch_model, params_from_hf(config, source, np.float32))


def small_config(**changes) -> ModelConfig:
    """A few thousand parameters with every feature: GQA, windows of 2×2 units, four groups in both towers."""
    vision = dict(depth=8, width=32, mlp=44, heads=2, window=56, full_blocks=(1, 3, 5, 7), out=48)
    language = dict(
        depth=8, width=48, mlp=56, heads=4, kv_heads=2, vocab=160, tied=False, mrope_section=(2, 2, 2), rope_theta=1e4
    )
    vision.update(changes.pop("vision", {}))
    language.update(changes.pop("language", {}))
    return ModelConfig(
        name="small", vision=VisionConfig(**vision), language=LanguageConfig(**language), tokens=TOKENS, **changes
    )


def draw_config(rng: np.random.Generator) -> ModelConfig:
    """A random valid configuration, with irregular depths (and then no taps) in about every second."""
    pick = rng.choice
    regular = bool(rng.random() < 0.5)
    if regular:
        inner = int(pick([1, 2, 3]))
        vision_depth, full = 4 * inner, tuple(range(inner - 1, 4 * inner, inner))
        language_depth = 4 * int(pick([1, 2]))
    else:
        vision_depth = int(pick([2, 3, 5]))
        full = tuple(sorted(pick(vision_depth, size=int(rng.integers(0, vision_depth)), replace=False).tolist()))
        language_depth = int(pick([1, 2, 3, 5]))
    kv = int(pick([1, 2]))
    heads = kv * int(pick([1, 2, 3]))
    section = pick([(2, 3, 3), (4, 2, 2), (1, 2, 3)]).tolist()
    width = heads * 2 * sum(section)
    vision_heads, vision_head = pick([(1, 20), (2, 8), (2, 16), (4, 8)]).tolist()
    return small_config(
        taps=regular,
        vision=dict(
            depth=vision_depth, width=vision_heads * vision_head, mlp=int(pick([20, 33])), heads=vision_heads,
            window=28 * int(pick([1, 2, 4])), full_blocks=full, out=width,
        ),
        language=dict(
            depth=language_depth, width=width, mlp=int(pick([24, 50])), heads=heads, kv_heads=kv,
            tied=bool(pick([True, False])), mrope_section=tuple(section),
            rope_theta=float(pick([1e4, 1e6])), eps=float(pick([1e-6, 1e-5])),
        ),
    )  # fmt: skip


@dataclass
class Chat:
    """Token ids of text, and uint8[h, w, 3] arrays for images, in order."""

    parts: list


def draw_image(rng, config: ModelConfig, high: int, wide: int) -> np.ndarray:
    """uint8 image of high × wide merged tokens."""
    side = config.vision.patch * config.vision.merge
    return rng.integers(0, 256, (high * side, wide * side, 3), dtype=np.uint8)


def draw_text(rng, config: ModelConfig, length: int) -> list[int]:
    return rng.integers(FIRST_TEXT, config.language.vocab, length).tolist()


def unit_patches(image: np.ndarray, config: ModelConfig, row: int, column: int) -> list[np.ndarray]:
    """The patches [3, patch, patch] of the merged token at (row, column), in order."""
    patch, merge = config.vision.patch, config.vision.merge
    out = []
    for y in range(merge):
        for x in range(merge):
            top, left = (row * merge + y) * patch, (column * merge + x) * patch
            out.append(image[top : top + patch, left : left + patch].transpose(2, 0, 1))
    return out


def grid_of(image: np.ndarray, config: ModelConfig) -> tuple[int, int]:
    side = config.vision.patch * config.vision.merge
    return image.shape[0] // side, image.shape[1] // side


def hf_pixels(images: list[np.ndarray], config: ModelConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """(pixel_values float32[n, 3·2·patch²], image_grid_thw int64[images, 3]) as transformers wants them."""
    rows, grids = [], []
    for image in images:
        high, wide = grid_of(image, config)
        for row in range(high):
            for column in range(wide):
                for patch in unit_patches(image, config, row, column):
                    value = (patch.astype(np.float32) / 255 - MEAN[:, None, None]) / STD[:, None, None]
                    rows.append(np.repeat(value[:, None], 2, axis=1).reshape(-1))
        grids.append([1, high * config.vision.merge, wide * config.vision.merge])
    return torch.tensor(np.stack(rows)), torch.tensor(grids)


def window_patches(image: np.ndarray, config: ModelConfig, budget: int) -> np.ndarray:
    """uint8[budget, 3·patch²]: window by window, each padded to full size."""
    high, wide = grid_of(image, config)
    units, values = config.vision.window_units, config.vision.patch_values
    rows = []
    for top in range(0, high, units):
        for left in range(0, wide, units):
            for row in range(top, top + units):
                for column in range(left, left + units):
                    if row < high and column < wide:
                        rows += [patch.reshape(-1) for patch in unit_patches(image, config, row, column)]
                    else:
                        rows += [np.full(values, 77, np.uint8)] * config.vision.merge**2  # must not matter
    assert len(rows) <= budget, f"an image of {high}×{wide} tokens needs {len(rows)} patches, the slot has {budget}"
    out = np.full((budget, values), 200, np.uint8)
    out[: len(rows)] = rows
    return out


def slot_budget(config: ModelConfig, high: int, wide: int) -> int:
    """Patches a slot needs for any image up to high × wide merged tokens."""
    units = config.vision.window_units
    return -(-high // units) * -(-wide // units) * units**2 * config.vision.merge**2


def hf_inputs(chat: Chat, config: ModelConfig) -> dict:
    """Keyword arguments of transformers' forward for one chat, with Qwen's vision tokens around images."""
    ids, kinds, images = [], [], []
    for part in chat.parts:
        if isinstance(part, np.ndarray):
            high, wide = grid_of(part, config)
            images.append(part)
            ids += [TOKENS.vision_start] + [TOKENS.image] * (high * wide) + [TOKENS.vision_end]
            kinds += [0] + [1] * (high * wide) + [0]
        else:
            ids += part
            kinds += [0] * len(part)
    inputs = dict(input_ids=torch.tensor([ids]), mm_token_type_ids=torch.tensor([kinds]))
    if images:
        inputs["pixel_values"], inputs["image_grid_thw"] = hf_pixels(images, config)
    return inputs


def rows_of(batch: list[list[Chat]], config: ModelConfig, slots: int, image_slots: int, budget: int):
    """(Rows, spans): the chats of each row side by side as instances 1, 2, …; spans[row][chat] are their slots."""
    size = len(batch)
    text = {
        name: np.zeros((size, slots), np.int32)
        for name in ("tokens", "segment", "block", "limit", "image_slot", "image_token")
    }
    text["image_slot"] -= 1
    positions = np.zeros((size, 3, slots), np.int32)
    patches = np.zeros((size, image_slots, budget, config.vision.patch_values), np.uint8)
    grid = np.zeros((size, image_slots, 2), np.int32)
    keep = np.zeros((size, image_slots), np.int32)
    anchor = np.tile(np.arange(image_slots, dtype=np.int32), (size, 1))
    spans = []
    for b, chats in enumerate(batch):
        at = image = 0
        spans.append([])
        for segment, chat in enumerate(chats, start=1):
            start, position = at, 0

            def put(token, place, slot=-1, index=0, segment=segment, b=b):
                nonlocal at
                text["tokens"][b, at], text["segment"][b, at] = token, segment
                text["image_slot"][b, at], text["image_token"][b, at] = slot, index
                positions[b, :, at] = place
                at += 1

            for part in chat.parts:
                if not isinstance(part, np.ndarray):
                    for token in part:
                        put(token, position)
                        position += 1
                    continue
                high, wide = grid_of(part, config)
                put(TOKENS.vision_start, position)
                for index in range(high * wide):
                    put(TOKENS.image, position + 1, image, index)
                position += 1 + max(high, wide)
                put(TOKENS.vision_end, position)
                position += 1
                patches[b, image] = window_patches(part, config, budget)
                grid[b, image], keep[b, image] = (high, wide), high * wide
                image += 1
            spans[-1].append(slice(start, at))
    one = np.zeros((size, 1), np.int32)
    rows = Rows(
        positions=positions, patches=patches, grid=grid, keep=keep, anchor=anchor, map_rows=one[..., None],
        map_weights=np.zeros((size, 1, 2, 1), np.float32), map_start=one, map_valid=one.astype(np.float32),
        masks=np.zeros((size, 1, 1, 1), np.uint8), target_slots=one, target_ids=one,
        target_weights=one.astype(np.float32), target_words=one, answer_slots=one, **text,
    )  # fmt: skip
    return rows, spans

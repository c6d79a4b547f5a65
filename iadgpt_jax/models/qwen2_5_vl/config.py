"""The shape of Qwen2.5-VL: plain frozen dataclasses for its two towers, and the ids of its special tokens.

Both towers are read as groups that end in a layer which can be tapped: of the ViT the full-attention blocks, of the
decoder the last layer of each group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from iadgpt_jax.errors import InputError

if TYPE_CHECKING:
    from iadgpt_jax.models.qwen2_5_vl.vision import VisionTower

GROUPS = 4  # taps per tower (paper: ViT blocks 8, 16, 24, 32 and decoder layers 7, 14, 21, 28)


@dataclass(frozen=True)
class VisionConfig:
    depth: int = 32
    width: int = 1280
    mlp: int = 3420
    heads: int = 16
    patch: int = 14  # pixels
    merge: int = 2  # patches per merged token and side
    window: int = 112  # pixels
    full_blocks: tuple[int, ...] = (7, 15, 23, 31)
    out: int = 3584
    eps: float = 1e-6

    @property
    def patch_values(self) -> int:
        """Numbers in one still patch: 3 channels × patch × patch."""
        return 3 * self.patch**2

    @property
    def window_units(self) -> int:
        """Merged tokens along one side of a window."""
        return self.window // self.patch // self.merge

    @property
    def regular(self) -> bool:
        """Whether the depth is GROUPS equal groups, each closed by a full-attention block."""
        if self.depth % GROUPS:
            return False
        group = self.depth // GROUPS
        return self.full_blocks == tuple(range(group - 1, self.depth, group))

    def check(self, model: str) -> None:
        """Raises InputError, naming `model`, where no tower has these sizes."""
        check_values(model, self)
        if any(block >= self.depth for block in self.full_blocks):
            raise InputError(f"model {model!r}: full_blocks {self.full_blocks} names a block beyond the {self.depth}")
        if self.width % self.heads or (self.width // self.heads) % 4:
            raise InputError(f"model {model!r}: vision.width / vision.heads must be a multiple of 4")
        if self.window % (self.patch * self.merge):
            raise InputError(f"model {model!r}: window {self.window} is not a multiple of a merged token's pixels")

    def tower(self, **how) -> VisionTower:
        """The flax module; `how` are its fields beside this configuration."""
        from iadgpt_jax.models.qwen2_5_vl.vision import VisionTower  # this file is read where no flax is wanted

        return VisionTower(self, **how)

    def hub_names(self) -> Iterator[tuple]:
        """Hugging Face's tensors: (hub name, path in our tree, index along stacked axes, order of the axes)."""
        from iadgpt_jax.models.qwen2_5_vl.hub_names import vision_names

        return vision_names(self)

    def axis_sizes(self) -> dict[str, int]:
        """The lengths of the axes named there."""
        from iadgpt_jax.models.qwen2_5_vl.hub_names import vision_sizes

        return vision_sizes(self)

    def flops(self, images: float, patches: int) -> dict[str, float]:
        """FLOPs of a forward pass over `images` images of `patches` patches, by part (iadgpt_jax/flops.py)."""
        total, window, full = images * patches, (self.window_units * self.merge) ** 2, len(self.full_blocks)
        wide = self.width * self.merge**2
        return {
            "patch_embedding": 2.0 * total * self.patch_values * self.width,
            "vision_blocks": 2.0 * total * self.depth * (4 * self.width**2 + 3 * self.width * self.mlp),
            "vision_window_attention": 4.0 * total * (self.depth - full) * self.width * window,
            "vision_full_attention": 4.0 * total * full * self.width * patches,
            "merger": 2.0 * total / self.merge**2 * (wide**2 + wide * self.out),
        }


@dataclass(frozen=True)
class LanguageConfig:
    depth: int = 28
    width: int = 3584
    mlp: int = 18944
    heads: int = 28
    kv_heads: int = 4
    vocab: int = 152064
    tied: bool = False
    rope_theta: float = 1e6
    mrope_section: tuple[int, int, int] = (16, 24, 24)
    eps: float = 1e-6

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def groups(self) -> int:
        """Groups of the layer scan: four where the depth divides, else one."""
        return GROUPS if self.depth % GROUPS == 0 else 1

    def check(self, model: str) -> None:
        """Raises InputError, naming `model`, where no decoder has these sizes."""
        check_values(model, self)
        if self.width % self.heads or self.heads % self.kv_heads:
            raise InputError(
                f"model {model!r}: width {self.width} must divide by heads {self.heads}, "
                f"and heads by kv_heads {self.kv_heads}"
            )
        if len(self.mrope_section) != 3 or sum(self.mrope_section) * 2 != self.head_width:
            raise InputError(
                f"model {model!r}: mrope_section {self.mrope_section} must be three that sum to half the head width "
                f"{self.head_width}"
            )


def check_values(model: str, values: VisionConfig | LanguageConfig | SpecialTokens, least: int = 1) -> None:
    """Raises InputError, naming `model`, where a field is not of its type or out of range: a file may say anything.

    Whole numbers are `least` or more and fit 32 bits; fractions are above 0 and finite.
    """
    for field in fields(values):
        value = getattr(values, field.name)
        told = f"model {model!r}: {field.name} is {value!r:.80}"
        if field.type == "bool" and not isinstance(value, bool):
            raise InputError(f"{told}: choose true or false")
        if field.type == "int" and not _whole(value, least):
            raise InputError(f"{told}: choose a whole number, {least} or more")
        if field.type == "float" and not (
            isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
        ):
            raise InputError(f"{told}: choose more than 0")
        if str(field.type).startswith("tuple") and not (
            isinstance(value, tuple) and all(_whole(item, 0) for item in value)
        ):
            raise InputError(f"{told}: choose a list of whole numbers")


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens the model and the packer must know, in Qwen's tokenizer."""

    image: int = 151655
    vision_start: int = 151652
    vision_end: int = 151653
    chat_start: int = 151644
    chat_end: int = 151645
    end_of_text: int = 151643

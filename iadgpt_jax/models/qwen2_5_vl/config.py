"""The shape of a model: plain frozen dataclasses, and named presets: the published sizes, a tiny one, one to measure.

Both towers are read as groups that end in a tapped layer (DESIGN.md §4): the ViT's full-attention blocks feed
the fusion, the last decoder layer of each group gives a supervised attention map.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from iadgpt_jax.errors import InputError

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


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens the model and the packer must know, in Qwen's tokenizer."""

    image: int = 151655
    vision_start: int = 151652
    vision_end: int = 151653
    chat_start: int = 151644
    chat_end: int = 151645
    end_of_text: int = 151643


@dataclass(frozen=True)
class ModelConfig:
    """One IADGPT. `taps`: carries fusion gates and attention maps. `positions`: "qwen" or "aligned" (DESIGN.md §4)."""

    name: str = "7b"
    vision: VisionConfig = VisionConfig()
    language: LanguageConfig = LanguageConfig()
    tokens: SpecialTokens = SpecialTokens()
    taps: bool = True
    positions: str = "qwen"
    init: str = "normal"  # "normal": std .02 as Qwen; "compare": attention starts as matching, to train from scratch

    def __post_init__(self):
        vision, language = self.vision, self.language
        if self.taps and not (vision.regular and language.depth % GROUPS == 0):
            raise InputError(
                f"model {self.name!r}: taps need {GROUPS} equal groups in both towers, but the ViT has {vision.depth} "
                f"blocks with full attention at {vision.full_blocks} and the decoder {language.depth} layers; "
                "set taps=False to run it as plain Qwen2.5-VL"
            )
        if vision.out != language.width:
            raise InputError(
                f"model {self.name!r}: vision.out {vision.out} differs from language.width {language.width}"
            )
        if language.width % language.heads or language.heads % language.kv_heads:
            raise InputError(
                f"model {self.name!r}: width {language.width} must divide by heads {language.heads}, "
                f"and heads by kv_heads {language.kv_heads}"
            )
        if sum(language.mrope_section) * 2 != language.head_width:
            raise InputError(
                f"model {self.name!r}: mrope_section {language.mrope_section} must sum to half the head width "
                f"{language.head_width}"
            )
        if vision.width % vision.heads or (vision.width // vision.heads) % 4:
            raise InputError(f"model {self.name!r}: vision.width / vision.heads must be a multiple of 4")
        if vision.window % (vision.patch * vision.merge):
            raise InputError(
                f"model {self.name!r}: window {vision.window} is not a multiple of a merged token's pixels"
            )
        if self.positions not in ("qwen", "aligned"):
            raise InputError(f"model {self.name!r}: positions is {self.positions!r}; choose 'qwen' or 'aligned'")
        if self.init not in ("normal", "compare"):
            raise InputError(f"model {self.name!r}: init is {self.init!r}; choose 'normal' or 'compare'")

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> ModelConfig:
        values = dict(values)
        values["vision"] = VisionConfig(**_tuples(values["vision"]))
        values["language"] = LanguageConfig(**_tuples(values["language"]))
        values["tokens"] = SpecialTokens(**values["tokens"])
        return cls(**values)


def _tuples(values: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def preset(name: str) -> ModelConfig:
    """The configuration of a published size ("3b", "7b", "32b", "72b"), of "tiny", trained from scratch, or "bench"."""
    if name not in PRESETS:
        raise InputError(f"no model size {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


PRESETS = {
    # Token ids and the vocabulary's size come from the tiny tokenizer (data/tokenizer.py), which a test holds equal.
    "tiny": ModelConfig(
        name="tiny",
        vision=VisionConfig(depth=8, width=64, mlp=128, heads=4, window=56, full_blocks=(1, 3, 5, 7), out=128),
        language=LanguageConfig(
            depth=4,
            width=128,
            mlp=384,
            heads=4,
            kv_heads=2,
            vocab=1536,
            tied=True,
            mrope_section=(4, 6, 6),
            rope_theta=2.0,  # on a grid of 4 × 4 tokens neighbours must differ in phase
        ),
        tokens=SpecialTokens(end_of_text=0, chat_start=1, chat_end=2, vision_start=3, vision_end=4, image=5),
        positions="aligned",
        init="compare",
    ),
    # For measuring on a CPU (docs/benchmarks.md): 61 M parameters, work split over the towers as between 3B and 7B.
    "bench": ModelConfig(
        name="bench",
        vision=VisionConfig(depth=8, width=256, mlp=704, heads=4, full_blocks=(1, 3, 5, 7), out=512),
        language=LanguageConfig(
            depth=12, width=512, mlp=1536, heads=8, kv_heads=2, vocab=32768, tied=True, mrope_section=(8, 12, 12)
        ),
        tokens=SpecialTokens(end_of_text=0, chat_start=1, chat_end=2, vision_start=3, vision_end=4, image=5),
    ),
    "3b": ModelConfig(
        name="3b",
        vision=VisionConfig(out=2048),
        language=LanguageConfig(depth=36, width=2048, mlp=11008, heads=16, kv_heads=2, vocab=151936, tied=True),
    ),
    "7b": ModelConfig(name="7b"),
    "32b": ModelConfig(
        name="32b",
        vision=VisionConfig(mlp=3456, out=5120),
        language=LanguageConfig(depth=64, width=5120, mlp=27648, heads=40, kv_heads=8, vocab=152064),
    ),
    "72b": ModelConfig(
        name="72b",
        vision=VisionConfig(mlp=3456, out=8192),
        language=LanguageConfig(depth=80, width=8192, mlp=29568, heads=64, kv_heads=8, vocab=152064),
    ),
}

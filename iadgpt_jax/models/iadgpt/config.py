"""The shape of an IADGPT: a backbone, what the paper adds to it, and named presets: the published sizes of Qwen2.5-VL,
a tiny one, one to measure.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.iadgpt.positions import STEPS
from iadgpt_jax.models.protocols import VisionTower
from iadgpt_jax.models.qwen2_5_vl.config import GROUPS, LanguageConfig, SpecialTokens, VisionConfig, check_values
from iadgpt_jax.models.vision_towers import tower_from_dict, tower_to_dict

if TYPE_CHECKING:
    from iadgpt_jax.models.layers import Projections

MAP_LAYERS = {"all": slice(None), "last": slice(-1, None)}  # which tapped layers maps are read from
# Cosines along each side of an image that a place is told by (places.py), the constant one among them: as many as tell
# four rows, or three thirds, apart.
WAVES = 4
# Weights to start from may lack these: they begin at 0 and then change nothing.
NEUTRAL = "^(vision/fusion/gates|places/kernel)$"


@dataclass(frozen=True)
class ModelConfig:
    """One IADGPT. vision: of any kind in models/vision_towers.py. taps: carries fusion gates and attention maps.
    map_layers: which of the tapped layers a map is the mean of, "all" (eq. 5) or the "last" alone. positions: "qwen" or
    "aligned" (positions.py). places: image tokens carry where they stand (places.py)."""

    name: str = "7b"
    vision: VisionTower = VisionConfig()
    language: LanguageConfig = LanguageConfig()
    tokens: SpecialTokens = SpecialTokens()
    taps: bool = True
    map_layers: str = "all"
    positions: str = "qwen"
    places: bool = False
    init: str = "normal"  # "normal": std .02 as Qwen; "compare": attention starts as matching, to train from scratch

    def __post_init__(self):
        vision, language = self.vision, self.language
        if not isinstance(self.name, str) or not isinstance(self.taps, bool) or not isinstance(self.places, bool):
            raise InputError(
                f"model {self.name!r}: taps is {self.taps!r}, places {self.places!r}; choose true or false, and a name "
                "of letters"
            )
        language.check(self.name)
        vision.check(self.name)
        check_values(self.name, self.tokens, least=0)
        if self.taps and not (vision.regular and language.depth % GROUPS == 0):
            raise InputError(
                f"model {self.name!r}: taps need {GROUPS} equal groups in both towers, but the vision tower "
                f"is {vision} and the decoder has {language.depth} layers; set taps=False to run it without them"
            )
        if vision.out != language.width:
            raise InputError(
                f"model {self.name!r}: vision.out {vision.out} differs from language.width {language.width}"
            )
        if not isinstance(self.map_layers, str) or self.map_layers not in MAP_LAYERS:
            raise InputError(
                f"model {self.name!r}: map_layers is {self.map_layers!r}; choose {' or '.join(map(repr, MAP_LAYERS))}"
            )
        if not isinstance(self.positions, str) or self.positions not in STEPS:
            raise InputError(f"model {self.name!r}: positions is {self.positions!r}; choose 'qwen' or 'aligned'")
        if self.init not in ("normal", "compare"):
            raise InputError(f"model {self.name!r}: init is {self.init!r}; choose 'normal' or 'compare'")

    def projections(self) -> Projections:
        """How all of the model's matrices are made."""
        from iadgpt_jax.models.layers import Projections  # this file is read where no flax is wanted

        return Projections("fan_in" if self.init == "compare" else "qwen")

    def to_dict(self) -> dict:
        return dataclasses.asdict(self) | {"vision": tower_to_dict(self.vision)}

    @classmethod
    def from_dict(cls, values: dict) -> ModelConfig:
        values = dict(values)
        language = values["language"] | {"mrope_section": tuple(values["language"]["mrope_section"])}
        values["vision"] = tower_from_dict(values["vision"])
        values["language"] = LanguageConfig(**language)
        values["tokens"] = SpecialTokens(**values["tokens"])
        return cls(**values)


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

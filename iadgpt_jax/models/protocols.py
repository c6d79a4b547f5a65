"""What everything outside models/ may ask of a model, its configuration and its vision tower."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import flax.linen as nn
    import jax
    import jax.numpy as jnp

    from iadgpt_jax.models.attention import Kernels
    from iadgpt_jax.models.qwen2_5_vl.config import LanguageConfig, SpecialTokens


class VisionTower(Protocol):
    """A frozen dataclass of sizes.

    patch: pixels of a patch's side; merge: patches of a merged token's side. Images travel as windows of
    window_units × window_units merged tokens (1: plain raster order), patch_values numbers a patch. out: width of a
    merged token. regular: whether the tower has four levels, of `width`, that a model can tap. eps: of the norms.
    """

    patch: int
    merge: int
    window: int
    out: int
    eps: float

    @property
    def patch_values(self) -> int: ...

    @property
    def window_units(self) -> int: ...

    @property
    def regular(self) -> bool: ...

    def check(self, model: str) -> None:
        """Raises InputError, naming `model`, where no tower has these sizes."""

    def tower(self, **how) -> nn.Module:
        """The module: (patches uint8[N, P, patch_values], grid int32[N, 2]) -> (tokens [N, T, out] in raster order,
        bool[N, T] which of them are inside the grid). `how`: dtype, combine, project, remat, kernels, unroll, as
        qwen2_5_vl/vision.VisionTower has them."""

    def hub_names(self) -> Iterable[tuple[str, str, tuple[int, ...], str]]:
        """Hugging Face's tensors: (hub name, path in our tree, index along stacked axes, order of the axes as
        convert/axes.py reads it)."""

    def axis_sizes(self) -> dict[str, int]:
        """The lengths of the axes named there."""

    def flops(self, images: float, patches: int) -> dict[str, float]:
        """FLOPs of a forward pass by part: patch_embedding, vision_blocks, vision_window_attention,
        vision_full_attention, merger."""


class ModelConfig(Protocol):
    """What every model's configuration, a frozen dataclass, has."""

    name: str
    vision: VisionTower
    language: LanguageConfig
    tokens: SpecialTokens
    taps: bool  # whether there are anomaly maps
    positions: str  # a rule of iadgpt/positions.py
    places: bool  # whether image tokens carry where they stand, as iadgpt/places.py has it

    def to_dict(self) -> dict: ...

    @classmethod
    def from_dict(cls, values: dict) -> ModelConfig: ...


class Model(Protocol):
    """What every model's flax module has; see iadgpt/model.py for the shapes."""

    config: ModelConfig
    dtype: jnp.dtype
    kernels: Kernels

    def __call__(self, rows, lanes=None, maps: bool = True): ...
    def encode_images(self, patches, grid): ...
    def prefill(self, rows): ...
    def after_prefix(self, cache, limits, starts, tokens, question): ...
    def logits(self, hidden): ...
    def apply(self, variables, *args, **kwargs): ...


@dataclass(frozen=True)
class ModelEntry:
    """A model, as the table of models has it.

    config: the class of its configurations; presets: named ones. module: (config, dtype, remat, kernels, unroll) -> the
    flax module. boxed_params: (config, key) -> fresh float32 parameters, each boxed with its logical axes.
    neutral: regular expression over paths: parameters that weights to start from may lack, because fresh ones change
    nothing of what the model computes.
    Training: objective: (module, lanes, the stage's configuration) -> a Loss of train/step.py; check(stage) refuses a
    stage it cannot serve with an InputError; record(stage) -> what a checkpoint must say of it.
    Inference: decode: makes answers token by token, with the functions of iadgpt/decode.py.
    """

    config: type[ModelConfig]
    presets: Mapping[str, ModelConfig]
    module: Callable[..., nn.Module]
    boxed_params: Callable[[Any, jax.Array], Any]
    neutral: str
    objective: Callable[..., Any]
    check: Callable[[Any], None]
    record: Callable[[Any], dict]
    decode: ModuleType

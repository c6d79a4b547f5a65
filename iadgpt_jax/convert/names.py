"""The one table between Hugging Face's tensor names and our parameter tree; import and export both read it.

The towers say which tensor lies where (hub_names.py in their folders); here their rows become one table, each with the
order of its axes (convert/axes.py). A tensor of a block is one slice of a leaf that stacks them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from iadgpt_jax.convert.axes import Axes
from iadgpt_jax.models.iadgpt.config import WAVES
from iadgpt_jax.models.protocols import ModelConfig
from iadgpt_jax.models.qwen2_5_vl.config import GROUPS
from iadgpt_jax.models.qwen2_5_vl.hub_names import language_names, language_sizes

GATES = "iadgpt.fusion.gates"  # ours alone: no stock checkpoint has it
PLACES = "iadgpt.places.kernel"  # likewise, of a model that has them


@dataclass(frozen=True)
class Entry:
    """One Hugging Face tensor: its hub name, the leaf of our tree it belongs to, and where in that leaf it lies."""

    name: str
    path: str  # "/"-joined
    index: tuple[int, ...]  # along the leaf's stacking axes
    axes: Axes


def entries(config: ModelConfig, gates: bool = False) -> list[Entry]:
    """All tensors of a checkpoint in file order, places of image tokens among them where the model has some; `gates`
    adds the fusion gates. Both under names of our own."""
    vision, language = config.vision.axis_sizes(), language_sizes(config.language)
    rows = [Entry(*row, Axes.parse(text, vision)) for *row, text in config.vision.hub_names()]
    rows += [Entry(*row, Axes.parse(text, language)) for *row, text in language_names(config.language)]
    if gates:
        rows.append(Entry(GATES, "vision/fusion/gates", (), Axes.parse("gate -> gate", {"gate": GROUPS - 1})))
    if config.places:
        sizes = {"wave": WAVES**2 - 1, "width": config.language.width}
        rows.append(Entry(PLACES, "places/kernel", (), Axes.parse("wave width -> wave width", sizes)))
    return rows


def hub_name(name: str) -> str:
    """The hub's name of a tensor that may carry transformers' in-memory prefixes."""
    name = re.sub(r"^model\.visual\.", "visual.", name)
    return re.sub(r"^model\.language_model\.", "model.", name)

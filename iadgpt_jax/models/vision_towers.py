"""The vision towers a model can be given. Another one is a folder beside qwen2_5_vl/ and a line in `TOWERS`.

A tower is its configuration; the model, the packer, the FLOP counter and checkpoints know it by what
`protocols.VisionTower` lists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from iadgpt_jax.models.protocols import VisionTower
from iadgpt_jax.models.qwen2_5_vl.config import VisionConfig

TOWERS: dict[str, type[VisionTower]] = {"qwen2_5_vl": VisionConfig}


def tower_to_dict(vision: VisionTower) -> dict:
    """Its sizes, and under "tower" which one it is."""
    name = next(name for name, kind in TOWERS.items() if type(vision) is kind)
    return {"tower": name, **dataclasses.asdict(vision)}


def tower_from_dict(values: Mapping) -> VisionTower:
    """The inverse of tower_to_dict; the first checkpoints knew one tower and did not name it."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return TOWERS[values.pop("tower", "qwen2_5_vl")](**values)

"""The vision towers a model can be given. Another one is a folder beside qwen2_5_vl/ and a line in `TOWERS`;
config.model.vision.tower chooses it by name.

A tower is its configuration, whose sizes all have defaults; the model, the packer, the FLOP counter and checkpoints
know it by what `protocols.VisionTower` lists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.protocols import VisionTower
from iadgpt_jax.models.qwen2_5_vl.config import VisionConfig

TOWERS: dict[str, type[VisionTower]] = {"qwen2_5_vl": VisionConfig}
TOWER = "tower"  # the key that names one, in configurations and in model.json


def as_tower(vision: VisionTower, name: str) -> VisionTower:
    """The tower of a name, with the sizes of `vision` that it has by the same name, and its own defaults for others.

    Raises:
      InputError: there is none of this name.
    """
    if name not in TOWERS:
        raise InputError(f"no vision tower {name!r}; choose one of {', '.join(TOWERS)}")
    if type(vision) is TOWERS[name]:
        return vision
    values, known = dataclasses.asdict(vision), {field.name for field in dataclasses.fields(TOWERS[name])}
    return TOWERS[name](**{key: value for key, value in values.items() if key in known})


def tower_to_dict(vision: VisionTower) -> dict:
    """Its sizes, and under "tower" which one it is."""
    name = next(name for name, kind in TOWERS.items() if type(vision) is kind)
    return {TOWER: name, **dataclasses.asdict(vision)}


def tower_from_dict(values: Mapping) -> VisionTower:
    """The inverse of tower_to_dict; the first checkpoints knew one tower and did not name it."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return TOWERS[values.pop(TOWER, "qwen2_5_vl")](**values)

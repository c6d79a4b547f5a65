"""What all sweeps share: the chain of stages of a size, how a part of it is switched off, and what is measured.

A sweep is a short file beside this one: `get_sweep(size)` returns named settings, each a chain of stages with the
values it changes (iadgpt_jax/sweep/spec.py). launch/sweep.py runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from iadgpt_jax.data.tasks.table import TASKS, default_options
from iadgpt_jax.sweep.spec import Column, Evaluation, Stage

ALL = ("stage1", "stage2", "stage3")
FINISH = "stage3_finish"  # the end of stage 3 from random weights: maps in the paper's form
GATES = "fusion/gates$"

YES, NO = "✓", "✗"

# Seconds on two otherwise idle CPU cores, before a sweep has measured its own: to start, and for each step.
SECONDS = {
    "stage1": (30.0, 0.3), "stage2": (35.0, 0.25), "stage3": (35.0, 0.3), "stage3_finish": (30.0, 0.3),
    "evaluate": (60.0, 0.0),
}  # fmt: skip

DRAWS = 3  # of references, for every trial


def tiny(size: str) -> bool:
    return size == "tiny"


OF_STAGE2 = ("pair_difference", "odd_one_out", "irregular_region")


def chain(size: str, *changes: Mapping[str, Any], stages: tuple[str, ...] = ALL) -> tuple[Stage, ...]:
    """The stages that a size is trained in, `stages` of the paper's three. changes: value by key, for every stage, or
    {"stage3": {…}, …} for some; what is for stage 3 is for its finish, too, unless that has a line of its own. Without
    stage 2, stage 3 replays none of its tasks."""
    names = [*stages, FINISH] if tiny(size) and "stage3" in stages else list(stages)
    found = []
    for name in names:
        values: dict[str, Any] = {}
        for change in changes:
            per_stage = change.keys() <= {*ALL, FINISH}
            own = change.get(name, change.get(name.removesuffix("_finish"), {}))
            values |= own if per_stage else change
        if name.startswith("stage3") and "stage2" not in stages:
            values |= {f"mixture.{task}.weight": 0.0 for task in OF_STAGE2}  # nothing to replay
        found.append(Stage(name, values))
    return tuple(found)


def without_fusion(size: str) -> dict[str, dict[str, Any]]:
    """The ViT's last layer alone reaches the decoder: the gates stay at 0."""
    return {name: {"frozen": _more_frozen(name, size)} for name in (*ALL, FINISH)}


def _more_frozen(name: str, size: str) -> str:
    frozen = import_module(f"configs.{name}").get_config(size).frozen
    return f"{frozen}|{GATES}" if frozen else GATES


def without_compression() -> dict[str, dict[str, Any]]:
    """Stage 3 never sees compressed references."""
    return {"stage3": {"mixture.inspect.ratios": (1.0,)}}


def without_pixel_loss(size: str) -> dict[str, dict[str, Any]]:
    """Maps are read as ever, and nothing trains them."""
    return of_maps(size, {f"loss.{name}": 0.0 for name in ("focal", "dice_abnormal", "dice_normal", "binary_focal")})


def of_maps(size: str, changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """For the stages that train maps: stage 3, from random weights stage 2, too. The others are left to be shared."""
    return later(changes) if tiny(size) else {"stage3": changes}


def later(changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """For stages 2 and 3 alone: what means nothing to stage 1 leaves it to be shared."""
    return {"stage2": changes, "stage3": changes}


def synthetic(share: float, *synthesizers: str, **pairs: Any) -> dict[str, dict[str, Any]]:
    """So large a share of the defects is made from good photographs, in these ways, in every task that can. pairs: more
    options of pair_difference."""
    changes = {f"mixture.pair_difference.{name}": value for name, value in pairs.items()}
    for task in TASKS:
        options = default_options(task)
        if "synthetic" in options:
            changes[f"mixture.{task}.synthetic"] = share
        if "synthesizers" in options and synthesizers:
            changes[f"mixture.{task}.synthesizers"] = synthesizers
    return later(changes)


def detection(shots: str, **flags: Any) -> dict[str, Evaluation]:
    """Few-shot detection of products that no stage has seen."""
    return {"detection": Evaluation("procedural:held_out", {"shots": shots, "seeds": DRAWS, **flags})}


def aurocs(shots: int, head: str = "") -> tuple[Column, Column]:
    """Image and pixel AUROC at so many shots."""
    return tuple(
        Column(f"{kind}_auroc{f'_{shots}' if head else ''}", f"{head}{kind} AUROC", f"shots.{shots}.{kind}_auroc")
        for kind in ("image", "pixel")
    )

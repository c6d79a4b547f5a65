"""Which configurations (configs/common.py) can be trained at all, and which single values make sense.

Asked before anything is loaded or compiled: otherwise 0 rows end in a traceback, and a rate that is no number trains to
nothing. launch/train.py asks, and what submits its command to a cluster (launch/cluster/render.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from iadgpt_jax.data.detection_prompt import named_prompt
from iadgpt_jax.data.run_sources import check_sources
from iadgpt_jax.data.tasks.table import task_class
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.registry import entry, float_dtype, preset
from iadgpt_jax.models.remat import POLICIES
from iadgpt_jax.train.model_options import with_options
from iadgpt_jax.train.watchdog import AUTOMATIC

BUCKETS = ("workdir", "config.init_from")  # flags of launch/train.py whose path may be gs://
MERGED = 28  # pixels along the side of the smallest merged token


class Bound(NamedTuple):
    """`choose` says in words what `holds` asks of a number."""

    choose: str
    holds: Callable[[Any], bool]


ONE_OR_MORE = Bound("1 or more", lambda value: value >= 1)
NOT_NEGATIVE = Bound("0 or more", lambda value: 0 <= value < math.inf)
POSITIVE = Bound("more than 0", lambda value: 0 < value < math.inf)
SHARE = Bound("0 to 1", lambda value: 0 <= value <= 1)
DECAY = Bound("0 or more, below 1", lambda value: 0 <= value < 1)

BOUNDS = {
    ONE_OR_MORE: """rows instances image_side source_categories microbatches vocab_chunks
        log_every checkpoint_every keep loader_threads max_skipped
        row.slots row.images row.patches row.maps row.keyword_rows row.targets row.mask_side""",
    NOT_NEGATIVE: """questions loader_processes pack.group row.prefix row.verdict_weight row.words_weight profile.steps
        optimizer.rate optimizer.warmup optimizer.weight_decay
        loss.answer loss.focal loss.dice_abnormal loss.dice_normal loss.binary_focal loss.focal_gamma
        checkpoint_minutes""",
    POSITIVE: "optimizer.clip",
    SHARE: "optimizer.floor max_quarantined",
    DECAY: "optimizer.b1 optimizer.b2",
    Bound("minutes, 0 for none, or -1", lambda value: value == AUTOMATIC or 0 <= value < math.inf): "watchdog_minutes",
    Bound("0 to 2147483647", lambda value: 0 <= value < 2**31): "seed",
}  # fmt: skip


def check_configuration(config) -> None:
    """Raise InputError for a configuration that cannot run."""
    name = f"stage{config.stage}.py"
    if config.size not in ("tiny", "bench") and not config.init_from:
        raise InputError(
            f"{name}:{config.size} starts from published weights: download Qwen2.5-VL, run tools/convert_hf.py import "
            f"--hf=DIR --out=DIR and pass --config.init_from=DIR; or try {name}:tiny, "
            "which needs neither weights nor data"
        )
    if not config.source and not config.sources:
        raise InputError(
            f"{name}:{config.size} needs images: run tools/prepare_data.py and pass --config.source=DIR, or several as "
            f"--config.sources.NAME.path=DIR; or try {name}:tiny"
        )
    check_sources(config)
    entry(config.architecture).check(config)
    if config.detection_prompt and config.map_space != "none" and not named_prompt(config.detection_prompt).normal:
        raise InputError(
            f"config.detection_prompt={config.detection_prompt} has no normal keywords, which supervised maps need: "
            "add some to its question (data/detection_prompt.py), or set config.map_space=none"
        )
    if config.profile.steps and not 1 <= config.profile.first <= config.steps:
        raise InputError(f"config.profile.first is {config.profile.first}: choose one of the steps 1 to {config.steps}")
    check_values(config)
    if config.steps < 1:
        raise InputError(f"config.steps is {config.steps}: there is nothing to train")


def check_values(config) -> None:
    """Raises InputError, naming the key, for the first value that makes no sense."""
    for key, bound in _bounded(config):
        value = _at(config, key)
        if not bound.holds(value):  # no comparison holds for a value that is no number
            raise InputError(f"config.{key} is {value}: choose {bound.choose}")
    for key in ("dtype", "optimizer.moments"):
        float_dtype(f"config.{key}", _at(config, key))
    if config.remat not in POLICIES:
        raise InputError(f"config.remat is {config.remat!r}: choose one of {', '.join(POLICIES)}")
    if config.rows % config.microbatches:
        raise InputError(
            f"config.rows={config.rows} does not divide by config.microbatches={config.microbatches}: change one of "
            "them"
        )
    for task in config.mixture:
        task_class(task)
    _check_lanes(config.row.lanes)
    _check_mesh(config.mesh)
    _check_side(config)


def _bounded(config) -> Iterator[tuple[str, Bound]]:
    for bound, keys in BOUNDS.items():
        yield from ((key, bound) for key in keys.split())
    yield from ((f"mixture.{name}.weight", NOT_NEGATIVE) for name in config.mixture if "weight" in config.mixture[name])
    yield from ((f"sources.{name}.weight", NOT_NEGATIVE) for name in config.sources if "weight" in config.sources[name])
    yield from ((f"replay.{name}.share", NOT_NEGATIVE) for name in config.replay)
    yield from ((f"optimizer.groups.{name}.rate", NOT_NEGATIVE) for name in config.optimizer.groups)


def _at(config, key: str) -> Any:
    for name in key.split("."):
        config = config[name]
    return config


def _check_lanes(groups: Any) -> None:
    """row.lanes: pairs (number, slots) of whole numbers."""
    try:
        good = all(count >= 1 and slots >= 1 and isinstance(count + slots, int) for count, slots in groups)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(f"config.row.lanes is {groups!r}: choose pairs (number, slots), as ((12, 28),), or ()")


def _check_mesh(mesh: Any) -> None:
    """Sizes of 1 or more, of which one may be -1: as many as are left."""
    sizes = dict(mesh)
    if any(size < 1 and size != -1 for size in sizes.values()) or list(sizes.values()).count(-1) > 1:
        told = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
        raise InputError(f"config.mesh is {told}: choose sizes of 1 or more, of which one may be -1 for what is left")


def _check_side(config) -> None:
    """image_side: whole windows of the vision tower, whose size is known here where a run starts from nothing; where it
    starts from weights, whole merged tokens, and building the model asks for the rest (build.py)."""
    unit = MERGED
    if not config.init_from:
        unit = with_options(preset(config.size, config.architecture), config.model).vision.window
    if config.image_side % unit:
        raise InputError(f"config.image_side={config.image_side} is not a multiple of {unit}: choose one")

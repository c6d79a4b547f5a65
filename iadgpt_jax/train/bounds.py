"""Which values of a configuration (configs/common.py) make sense by themselves, whatever else it says.

Asked before anything is loaded or compiled: otherwise 0 rows end in a traceback, and a rate that is no number trains to
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.registry import float_dtype
from iadgpt_jax.models.remat import POLICIES


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
    NOT_NEGATIVE: """questions loader_processes pack.group row.prefix row.verdict_weight profile.steps
        optimizer.rate optimizer.warmup optimizer.weight_decay
        loss.answer loss.focal loss.dice_abnormal loss.dice_normal loss.binary_focal loss.focal_gamma""",
    POSITIVE: "optimizer.clip",
    SHARE: "optimizer.floor max_quarantined",
    DECAY: "optimizer.b1 optimizer.b2",
    Bound("0 to 2147483647", lambda value: 0 <= value < 2**31): "seed",
}  # fmt: skip


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
    _check_lanes(config.row.lanes)


def _bounded(config) -> Iterator[tuple[str, Bound]]:
    for bound, keys in BOUNDS.items():
        yield from ((key, bound) for key in keys.split())
    yield from ((f"mixture.{name}.weight", NOT_NEGATIVE) for name in config.mixture if "weight" in config.mixture[name])
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

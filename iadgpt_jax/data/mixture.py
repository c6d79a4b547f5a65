"""Configuration -> the weighted tasks a stage trains on."""

from __future__ import annotations

from collections.abc import Mapping

from iadgpt_jax.data.loader import Task
from iadgpt_jax.data.sources.sample import Source
from iadgpt_jax.data.tasks.describe import Describe
from iadgpt_jax.data.tasks.differences import IrregularRegion, OddOneOut, PairDifference
from iadgpt_jax.data.tasks.inspect import Inspect
from iadgpt_jax.errors import InputError

TASKS = {
    "describe": Describe,
    "odd_one_out": OddOneOut,
    "pair_difference": PairDifference,
    "irregular_region": IrregularRegion,
    "inspect": Inspect,
}


def build(source: Source, parts: Mapping[str, Mapping], categories=None) -> list[tuple[Task, float]]:
    """`parts`: task name -> {"weight": share of instances, further options of the task}, in order."""
    built = []
    for name, options in parts.items():
        options = dict(options)
        weight = options.pop("weight")
        if not weight:
            continue
        if name not in TASKS:
            raise InputError(f"config.mixture names task {name!r}; choose from {', '.join(TASKS)}")
        if name != "describe":
            options["categories"] = categories or None
        built.append((TASKS[name](source, **options), float(weight)))
    if not built:
        raise InputError("config.mixture has no task with a weight above 0")
    return built

"""What a sweep is: settings to compare, how each is trained and evaluated, and which numbers its table has.

A file in configs/sweeps/ returns a `Sweep` from `get_sweep(size)`. Nothing here reads configurations or runs anything.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from iadgpt_jax.errors import InputError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Stage:
    """One stage of training: the name of its file in configs/, without .py, and the values it changes in it, by key
    ("mixture.inspect.ratios")."""

    config: str
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """One run of launch/evaluate.py. dataset: empty where nobody has named one, and then its columns stay empty. flags:
    the command's other flags, by name."""

    dataset: str
    flags: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """One row of the table. marks: what stands under the sweep's heads. stages: trained one after the other, each from
    the one before. flags: of its evaluations, over those of the sweep. published: column -> the paper's number."""

    name: str
    marks: tuple[str, ...]
    stages: tuple[Stage, ...]
    flags: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """One measured number. name: as results.json has it. head: as the table has it. evaluation: a name in the sweep's
    evaluations. path: where the number stands in metrics.json, keys joined by dots; of {"mean", "std"} it is the mean.
    scale, digits: how the table prints it (AUROC in per cent, with one decimal, as the paper does)."""

    name: str
    head: str
    path: str
    evaluation: str = "detection"
    scale: float = 100.0
    digits: int = 1


@dataclass(frozen=True)
class Sweep:
    """Settings that one table compares. heads: the table's first columns. source: where the published numbers stand.
    published_on: what they were measured on. notes: what a reader must know beside the numbers.

    Raises:
      InputError: a name is used twice or is none, or parts do not fit each other.
    """

    name: str
    title: str
    heads: tuple[str, ...]
    settings: tuple[Setting, ...]
    columns: tuple[Column, ...]
    evaluations: Mapping[str, Evaluation]
    source: str = ""
    published_on: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        for what, names in (("setting", self.settings), ("column", self.columns)):
            found = [one.name for one in names]
            if not found:
                raise InputError(f"sweep {self.name!r} has no {what}: name at least one")
            for name in found:
                if not NAME.fullmatch(name):
                    raise InputError(f"sweep {self.name!r}: {what} {name!r} is no name: use letters, digits, _ . -")
                if found.count(name) > 1:
                    raise InputError(f"sweep {self.name!r} has {what} {name!r} twice: rename one")
        columns = {column.name for column in self.columns}
        for column in self.columns:
            if column.evaluation not in self.evaluations:
                raise InputError(
                    f"sweep {self.name!r}: column {column.name!r} is of evaluation {column.evaluation!r}, which is not "
                    f"one of {', '.join(self.evaluations)}"
                )
        for setting in self.settings:
            where = f"sweep {self.name!r}, setting {setting.name!r}"
            if len(setting.marks) != len(self.heads):
                raise InputError(f"{where}: {len(setting.marks)} marks for {len(self.heads)} heads; give one for each")
            if not setting.stages:
                raise InputError(f"{where} has no stage: name at least one")
            if unknown := sorted(setting.published.keys() - columns):
                raise InputError(f"{where}: published numbers of {', '.join(unknown)}, which are no columns")

    def only(self, names: Collection[str]) -> tuple[Setting, ...]:
        """The settings of these names, all without any; raises InputError for a name that no setting has."""
        known = [setting.name for setting in self.settings]
        if unknown := [name for name in names if name not in known]:
            raise InputError(f"--only={','.join(unknown)}: sweep {self.name!r} has {', '.join(known)}")
        return tuple(setting for setting in self.settings if not names or setting.name in names)

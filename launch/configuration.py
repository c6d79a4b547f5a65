"""Read a configuration by its name, with overrides, as the command line of launch/train.py would: for launchers that
check what they are about to start.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import ml_collections

from iadgpt_jax import command_line
from iadgpt_jax.command_line import set_source, without_sources
from iadgpt_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


def read_config(name: str, overrides: Sequence[str] = ()) -> ml_collections.ConfigDict:
    """The configuration named as configs/stageN.py:SIZE, with words --config.KEY=VALUE applied.

    Raises:
      InputError: there is no such file or size, or an override is none.
    """
    path, _, size = name.partition(":")
    settings = load_file(path, "configs/stageN.py:SIZE").get_config(*([size] if size else []))
    overrides, of_sources = without_sources(overrides)
    for setting in of_sources:
        set_source(settings, *setting)
    for word in overrides:
        match = re.fullmatch(r"--config\.([\w.]+)=(.*)", word, re.DOTALL)
        if not match:
            raise InputError(f"after -- write overrides like --config.KEY=VALUE, not {word}")
        set_value(settings, *match.groups())
    return settings


def load_file(path: str, usage: str) -> ModuleType:
    """The Python file at a path, seen from here or from the folder of the commands. Raises InputError where there is
    none."""
    return command_line.load_file(path, usage, ROOT)


def set_value(settings, key: str, text: str) -> None:
    """settings.KEY = text, read as the type it has. Raises InputError for an unknown key and an unreadable value."""
    *groups, last = key.split(".")
    for group in groups:
        settings = settings.get(group)
        if settings is None or not hasattr(settings, "keys"):
            raise InputError(f"no such configuration key: {key} (iadgpt train --help lists them all)")
    if last not in settings:
        raise InputError(f"no such configuration key: {key} (iadgpt train --help lists them all)")
    kind = settings.get_type(last)
    if hasattr(settings[last], "keys"):
        raise InputError(f"config.{key} is a group of values: write --config.{key}.KEY=VALUE")
    try:
        if kind is bool:
            settings[last] = {"true": True, "false": False}[text.lower()]
        else:
            settings[last] = ast.literal_eval(text) if kind is tuple else kind(text)
    except (ValueError, TypeError, KeyError, SyntaxError) as error:
        raise InputError(f"--config.{key}={' '.join(text.split())} is not a valid {kind.__name__}") from error

"""Flags of a training: --config and --config.KEY=VALUE, as launch/train.py and as launchers read and check them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from unittest import mock

from absl import flags
from absl.testing import flagsaver

import launch.train
from iadgpt_jax.train.bounds import check_configuration
from launch.configuration import ROOT, read_config
from tools.fuzzing.mutate import NUMBERS, TEXTS
from tools.fuzzing.run import Case

NAMES = ("configs/stage1.py:tiny", "configs/stage3.py:tiny", "configs/stage2.py:bench", "configs/stage3.py:7b")


def prepared(folder: Path) -> Case:
    """A case: a command line with one to three overrides, of which most name keys that there are."""
    keys = {name: list(keys_of(read_config(name))) for name in NAMES}

    def case(rng: Random) -> None:
        name = rng.choice(NAMES)
        words = [override(rng, rng.choice(keys[name])) for _ in range(rng.choice((1, 1, 2, 3)))]
        if name.endswith("7b"):
            words += ["--config.init_from=/weights", "--config.source=/data"]
        if rng.random() < 0.05:
            name = changed(name, rng)
        if rng.random() < 0.5:
            check_configuration(read_config(name, words))
            return
        argv = ["launch/train.py", f"--config={ROOT / name}", f"--workdir={folder}", *words]
        with mock.patch.object(sys, "argv", argv), flagsaver.flagsaver():
            launch.train.parse_flags.__wrapped__(argv)
            check_configuration(flags.FLAGS.config)

    return case


def keys_of(config, before: str = "") -> Iterator[str]:
    """Every key of a configuration, and of the groups in it."""
    for key in config:
        yield before + key
        if hasattr(config[key], "keys"):
            yield from keys_of(config[key], f"{before}{key}.")


def override(rng: Random, key: str) -> str:
    if rng.random() < 0.1:
        key = rng.choice(
            (changed(key, rng), f"sources.{rng.choice(TEXTS)}.weight", "sources.parts.path", f"{key}.more")
        )
    if rng.random() < 0.02:
        return rng.choice(TEXTS)
    return f"--config.{key}={value(rng)}"


def value(rng: Random) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        return str(rng.choice(NUMBERS))
    if kind == 1:
        return rng.choice(TEXTS)
    if kind == 2:
        return str(tuple(rng.choice((*NUMBERS, *TEXTS[:8])) for _ in range(rng.randrange(4))))
    return rng.choice(("True", "False", "((12, 28),)", "((0, 1),)", "()", "bfloat16", "float17", "none", "adamw", "-1"))


def changed(text: str, rng: Random) -> str:
    """One letter gone, doubled or another."""
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(("", text[at] * 2, rng.choice(".:@=_é\0 "))) + text[at + 1 :]

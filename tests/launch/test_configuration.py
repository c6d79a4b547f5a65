"""Flags --config.KEY=VALUE that make no sense are one line, whether the trainer reads them or a launcher."""

from __future__ import annotations

import sys

import pytest
from absl import flags
from absl.testing import flagsaver

import launch.train
from iadgpt_jax.errors import InputError
from iadgpt_jax.train.bounds import check_configuration
from launch.configuration import ROOT, read_config

NAME = "configs/stage3.py:tiny"


def by_trainer(words, monkeypatch):
    argv = ["launch/train.py", f"--config={ROOT / NAME}", "--workdir=run", *words]
    monkeypatch.setattr(sys, "argv", argv)  # where the configuration's flag looks for what overrides it
    with flagsaver.flagsaver():
        launch.train.parse_flags.__wrapped__(argv)
        check_configuration(flags.FLAGS.config)


def by_launcher(words, monkeypatch):
    check_configuration(read_config(NAME, words))


@pytest.mark.parametrize("read", [by_trainer, by_launcher])
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--config.row..maps=2", r"row\.\.maps"),
        ("--config.row-1.maps=2", r"row-1\.maps"),
        ("--config.row=2", r"config\.row\b.* (group|dict)"),
        ("--config.loss.answer=\n", r"config\.loss\.answer"),
        ("--config.model.language.tied=\n", r"config\.model\.language\.tied"),
    ],
)
def test_a_flag_that_makes_no_sense_is_one_line(word, said, read, monkeypatch):
    with pytest.raises(InputError, match=said) as error:
        read([word], monkeypatch)
    assert "\n" not in str(error.value)


def test_a_file_name_that_cannot_be_is_one_line(monkeypatch):
    argv = ["launch/train.py", "--config=configs/stage3\0py:tiny"]
    monkeypatch.setattr(sys, "argv", argv)
    with flagsaver.flagsaver(), pytest.raises(InputError, match="no configuration to read.*null") as error:
        launch.train.parse_flags.__wrapped__(argv)
    assert "\n" not in str(error.value)

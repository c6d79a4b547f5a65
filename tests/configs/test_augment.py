"""Random flips and colours are for training from scratch only."""

from __future__ import annotations

import importlib

import pytest

from iadgpt_jax.data.tasks.augmentation import Augmentation


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3", "stage3_finish"])
@pytest.mark.parametrize("size,on", [("tiny", True), ("bench", False), ("3b", False), ("7b", False)])
def test_augmentation_is_on_for_tiny_alone(stage, size, on):
    config = importlib.import_module(f"configs.{stage}").get_config(size)
    assert Augmentation(**config.augment) == Augmentation(flips=on, colours=on)

"""Sources tell whether masks show anything without reading photographs; a black mask counts as none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.data.sources.folder import FolderSource
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.data.sources.procedural import ProceduralSource
from iadgpt_jax.data.tasks.task_source import TaskSource
from tests.data.photographs import draw_dataset
from tools import prepare_data


@pytest.fixture
def folder(tmp_path):
    """Two categories of three defective images each: with a mask, with a black one, without."""
    root = draw_dataset(tmp_path / "parts")
    for category in ("bolt", "nut"):
        Image.fromarray(np.zeros((60, 90), np.uint8)).save(root / category / "ground_truth/bent_pin/001_mask.png")
    return root


def check(source, monkeypatch):
    said = []
    monkeypatch.setattr(type(source), "__getitem__", lambda self, index: pytest.fail("a photograph was read"))
    categories = TaskSource(source, say=said.append).categories
    monkeypatch.undo()
    assert [(c.name, len(c.good), len(c.defective), len(c.masked)) for c in categories] == [
        ("bolt", 5, 3, 1), ("nut", 5, 3, 1)
    ]  # fmt: skip
    assert "4 of 6 defective images" in said[0] and "bolt 2, nut 2" in said[0]
    for category in categories:
        for index in category.defective:
            usable = source[index].mask is not None and source[index].mask.any()
            assert (index in category.masked) == usable
            assert (TaskSource(source, say=said.append)[index].mask is not None) == usable


def test_a_folder(folder, monkeypatch):
    check(FolderSource(folder, side=28), monkeypatch)


def test_a_prepared_dataset(folder, tmp_path, monkeypatch):
    prepare_data.main(["--dataset=folder", f"--source={folder}", f"--out={tmp_path / 'out'}"])
    check(PreparedSource(tmp_path / "out", side=28), monkeypatch)


def test_procedural_products_all_have_one_and_none_is_rendered_to_know(monkeypatch):
    source = ProceduralSource(0, categories=300)
    monkeypatch.setattr(ProceduralSource, "__getitem__", lambda self, index: pytest.fail("a photograph was rendered"))
    assert all(category.masked == category.defective for category in TaskSource(source).categories)

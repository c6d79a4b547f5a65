"""What saving costs is measured with training's own saver, and the page's table is the tool's."""

from __future__ import annotations

import json
from pathlib import Path

from tools import saving

ROOT = Path(__file__).resolve().parents[2]


def test_a_measurement_saves_and_tells(tmp_path, capsys):
    saving.main(["measure", "--megabytes=2", "--step_seconds=0.02", f"--out={tmp_path}"])
    found = json.loads((tmp_path / "saving.json").read_text())
    assert 1e6 < found["bytes"] <= 2e6
    assert 0 < found["blocked"] <= found["blocked_most"] and found["blocked"] <= found["written"]
    assert capsys.readouterr().out.startswith("a state of 2 MB on cpu: a save keeps its step ")


def test_the_page_has_the_table_that_the_tool_prints():
    assert saving.table("configs/stage1.py:7b") in (ROOT / "docs/reliability.md").read_text()


def test_a_frozen_tower_has_no_moments():
    whole, without_tower = saving.state_bytes("configs/stage1.py:7b"), saving.state_bytes("configs/stage3.py:7b")
    assert whole % 12 == 0, "parameters and two moments, float32"
    assert (whole - without_tower) % 8 == 0 and 0.5e9 < (whole - without_tower) / 8 < 0.7e9, "Qwen's ViT: 0.63 B"

"""The picture sheet of the synthesizers shows each category's good image and what was made of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from iadgpt_jax.data.synthesis.table import SYNTHESIZERS
from tests.data.photographs import draw_dataset
from tools import picture_sheet


def test_a_row_for_every_category_of_a_folder(tmp_path, monkeypatch, capsys):
    root, out = draw_dataset(tmp_path / "parts", ("bolt", "nut", "ring")), tmp_path / "sheet.png"
    arguments = [f"--out={out}", "--synthesis", f"--source={root}", "--side=56", "--rows=16"]
    monkeypatch.setattr("sys.argv", ["picture_sheet.py", *arguments])
    picture_sheet.main()
    picture = cv2.imread(str(out))
    assert picture.shape[0] == 22 + 3 * (56 + 4)
    assert picture.shape[1] > (1 + 4 * len(SYNTHESIZERS)) * 56
    assert all(np.unique(picture[22 + 60 * row : 78 + 60 * row, 172:228]).size > 3 for row in range(3)), "good images"
    assert "sheet.png" in capsys.readouterr().out


def test_pictures_too_small_to_see_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["picture_sheet.py", f"--out={tmp_path / 'sheet.png'}", "--synthesis", "--side=8"])
    with pytest.raises(SystemExit):
        picture_sheet.main()
    assert "--side=8 is too small" in capsys.readouterr().err

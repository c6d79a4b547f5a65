"""tools/test_index.py: every test file says in one sentence what it holds, and docs/tests.md lists those sentences."""

from __future__ import annotations

import pytest

from tools.test_index import ROOT, index, main


def test_the_index_is_current():
    main(["--check"])


def test_a_page_that_is_not_current_is_said_and_then_written(tmp_path, capsys):
    folder = tmp_path / "tests/data"
    folder.mkdir(parents=True)
    (folder / "test_bolts.py").write_text('"""Bolts | nuts hold.\n\nMore of it."""\n')
    (tmp_path / "tests/test_top.py").write_text('"""The top holds."""\n')
    with pytest.raises(SystemExit) as end:
        main(["--check", f"--root={tmp_path}"])
    assert end.value.code == 2 and "docs/tests.md is not current" in capsys.readouterr().err
    main([f"--root={tmp_path}"])
    main(["--check", f"--root={tmp_path}"])
    lines = (tmp_path / "docs/tests.md").read_text().splitlines()
    assert lines.index("| `test_top.py` | The top holds. |") < lines.index("| `test_bolts.py` | Bolts \\| nuts hold. |")
    assert "## tests" in lines and "## tests/data" in lines


@pytest.mark.parametrize("text", ["", '"""No full stop\n\nhere."""\n'])
def test_a_file_without_its_sentence_is_refused_by_name(tmp_path, capsys, text):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_mute.py").write_text(text)
    with pytest.raises(SystemExit) as end:
        main([f"--root={tmp_path}"])
    assert end.value.code == 2 and "test_mute.py" in capsys.readouterr().err


def test_every_test_file_is_listed():
    page = index(ROOT)
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) > 50 and all(f"| `{name}` |" in page for name in names)

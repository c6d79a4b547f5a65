"""README.md stays true where a machine can tell: the files and flags it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"python ((?:launch|tools)/\w+\.py)((?:[^\n]|(?<=\\)\n)*)", README)


def test_the_files_it_names_exist():
    named = re.findall(r"\b(?:launch|tools|configs|iadgpt_jax)/(?!test_)[\w/]*(?:\.\w+)?", README)
    assert len(named) > 30
    missing = {name for name in named if not (ROOT / name).exists()}
    assert not missing


@pytest.mark.parametrize("script, rest", COMMANDS, ids=[script for script, _ in COMMANDS])
def test_the_flags_it_gives_are_those_of_the_command(script, rest):
    """Every --flag in a documented command stands in its script's text; --config.KEY in configs/."""
    code = (ROOT / script).read_text()
    configurations = "".join(path.read_text() for path in (ROOT / "configs").glob("*.py"))
    for flag in re.findall(r"--([\w.]+)", rest):
        head, _, key = flag.partition(".")
        assert f'"{head}"' in code or f'"--{head}"' in code
        for name in key.split(".") if key else ():
            assert re.search(rf"\b{name}\b", configurations), f"--{flag}"

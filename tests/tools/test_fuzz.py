"""Damaged input to what reads files and words of strangers is read or refused in one line (tools/fuzz.py, in small)."""

from __future__ import annotations

import time

import pytest

from iadgpt_jax.errors import InputError
from tools.fuzz import main
from tools.fuzzing import run as running
from tools.fuzzing.run import TARGETS, run, target

CASES = {"image": 250, "chat": 400, "hf": 60, "config": 60, "words": 250}


@pytest.mark.parametrize("name", TARGETS)
def test_only_documented_errors_come_out(name, tmp_path):
    found = run(target(name, tmp_path), range(CASES[name]), seed=1)
    assert not found.failures, next(iter(found.failures.values()))
    assert found.cases == CASES[name] and found.refused > found.cases / 10, "what is fed is damaged"
    assert found.read > found.cases / 20, "but not beyond recognition"


def test_what_fails_or_hangs_is_told_and_can_be_run_again(monkeypatch, capsys):
    def case(rng):
        drawn = rng.randrange(4)
        if drawn == 0:
            raise KeyError("a bug")
        if drawn == 1:
            raise InputError("refused")
        if drawn == 2:
            time.sleep(30)

    monkeypatch.setattr(running, "SECONDS", 1)
    found = run(case, range(8), seed=0)
    assert found.cases == 8 and found.refused and found.read and found.failures
    assert {"a bug" in told or "takes more than" in told for told in found.failures.values()} == {True}
    again = run(case, list(found.failures), seed=0)
    assert list(again.failures) == list(found.failures)

    monkeypatch.setattr("tools.fuzz.target", lambda name, folder: case)
    assert main(["words", "--cases=8"]) == 1 and main(["words", f"--only={min(found.failures)}"]) == 1
    assert "words, case " in capsys.readouterr().out

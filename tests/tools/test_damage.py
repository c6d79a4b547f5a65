"""tools/damage.py sees what is loaded though it was damaged, and finds nothing of that kind in a prepared dataset."""

from __future__ import annotations

import pytest

from iadgpt_jax.errors import InputError
from tools.damage import BEFORE, REFUSED, UNHARMED, dataset, outcomes, table


def test_a_prepared_dataset_is_refused_or_reads_as_it_was(tmp_path):
    """Truncated, deleted and flipped: more places by the command, and in tests/data/sources/test_prepared_damage.py."""
    found = outcomes("prepared dataset", *dataset(tmp_path), flips=15, seed=1)
    assert not found["failures"] and found["counts"][f"truncated: {REFUSED}"] > 5
    assert sum(found["counts"].values()) > 15 + 2 * 10
    assert "| prepared dataset | bit flipped | 15 |" in table({"prepared dataset": found})


@pytest.mark.parametrize(
    ("error", "came", "fails"),
    [
        (None, BEFORE, False), (InputError("is damaged"), REFUSED, False), (KeyError("a bug"), "failed", True),
        (AssertionError("another weight"), "failed", True),
    ],
)  # fmt: skip
def test_what_comes_of_a_damage_is_told_apart(error, came, fails, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"whole")

    def look() -> str:
        if path.exists() and path.read_bytes() == b"whole":
            return UNHARMED
        if error:
            raise error
        return BEFORE

    found = outcomes("file", [path], look, flips=3, seed=0)
    assert sum(count for name, count in found["counts"].items() if name.endswith(came)) == 5
    assert len(found["failures"]) == 5 * fails and path.read_bytes() == b"whole"

"""One process at a time works in a folder, and a folder where that cannot be made sure is refused."""

from __future__ import annotations

import fcntl

import pytest

from iadgpt_jax.alone import alone_in
from iadgpt_jax.errors import InputError


def test_a_second_one_is_told_and_the_lock_goes_with_the_first(tmp_path):
    with alone_in(tmp_path / "out", "writing", "choose another"):
        with pytest.raises(InputError, match="another process is writing"):
            with alone_in(tmp_path / "out", "writing", "choose another"):
                pass
    with alone_in(tmp_path / "out", "writing", "choose another"):
        pass


def test_a_folder_without_locks_is_told_in_one_line(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(InputError, match="No locks available.*choose another"):
        with alone_in(tmp_path, "writing", "choose another"):
            pass

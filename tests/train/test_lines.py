"""Files of JSON lines survive kills, damage and a full disk: whole lines only, and training goes on without them."""

from __future__ import annotations

import json
import resource

import pytest

from iadgpt_jax.train.lines import Lines


def steps_of(path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_numbers_that_are_not_finite_are_null(tmp_path):
    said: list[str] = []
    lines = Lines(tmp_path / "metrics.jsonl", 0, said.append)
    lines.write({"step": 1, "loss": float("nan"), "parts": {"answer": float("inf"), "focal": 0.5}})
    lines.close()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    strict = json.loads(line, parse_constant=pytest.fail)
    assert strict == {"step": 1, "loss": None, "parts": {"answer": None, "focal": 0.5}} and said == []


def test_what_is_half_written_damaged_or_past_the_step_is_left_out(tmp_path):
    path, said = tmp_path / "metrics.jsonl", []
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo\xff\xfe\n[3]\n{"step": 4}\n{"step": 9}\n{"step": 5, "loss"')
    lines = Lines(path, 5, said.append)
    lines.write({"step": 6})
    lines.close()
    assert steps_of(path) == [1, 4, 6]
    assert len(said) == 1 and "2 lines" in said[0] and "damaged" in said[0]
    assert not list(tmp_path.glob("*.aside"))


@pytest.fixture
def full_disk():
    """No file of this process may grow past so many bytes, which is an error from the kernel as a full disk's is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield full
    full(None)


def test_a_full_disk_is_said_once_and_leaves_whole_lines(tmp_path, full_disk):
    path, said = tmp_path / "metrics.jsonl", []
    lines = Lines(path, 0, said.append)
    lines.write({"step": 1})
    full_disk(path.stat().st_size + 5)  # not enough for another line
    lines.write({"step": 2})
    lines.write({"step": 3})
    full_disk(None)
    assert steps_of(path) == [1] and path.read_bytes().endswith(b"\n")
    assert len(said) == 1 and "cannot be written" in said[0] and "goes on" in said[0]
    lines.write({"step": 4})
    lines.close()
    assert steps_of(path) == [1, 2, 3, 4] and len(said) == 1, "nothing is lost where there is room again"


def test_lines_that_never_found_room_are_counted(tmp_path, full_disk):
    path, said = tmp_path / "metrics.jsonl", []
    lines = Lines(path, 0, said.append)
    full_disk(0)
    lines.write({"step": 1})
    lines.close()
    full_disk(None)
    assert path.read_bytes() == b"" and "1 lines" in said[-1]


def test_a_folder_that_takes_no_file_costs_the_lines_alone(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    said: list[str] = []
    lines = Lines(tmp_path / "metrics.jsonl", 0, said.append)
    lines.write({"step": 1})
    lines.close()
    assert "cannot be written" in said[0]

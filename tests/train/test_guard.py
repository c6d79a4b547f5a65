"""What the host makes of steps that were not applied, and of spikes; it never runs ahead by more than two steps."""

from __future__ import annotations

import json

import jax.numpy as jnp
import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.train.guard import AHEAD, LEAST, Guard

NAN = float("nan")


def metrics(loss=1.0, norm=1.0, **more) -> dict:
    skipped = float(loss != loss or norm != norm)
    values = {"loss": loss, "gradient_norm": norm, "skipped": skipped, **more}
    return {name: jnp.float32(value) for name, value in values.items()}


def guard_of(tmp_path, said, first=0, most=3, **options) -> Guard:
    def records(step: int) -> list[str]:
        return [f"parts: image {step}"]

    return Guard(tmp_path, first, most, records, said.append, **options)


def lines_of(path) -> list[dict]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def test_a_step_left_out_is_told_with_its_parts_and_records(tmp_path):
    said: list[str] = []
    guard = guard_of(tmp_path, said)
    for step, loss in enumerate((1.0, NAN, 1.0, NAN, NAN, 1.0), 1):
        guard.step(step, metrics(loss, answer=loss, focal=0.25))
    guard.finish()
    guard.close()
    lines = lines_of(tmp_path / "nonfinite.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 5] and guard.skipped == 3
    assert lines[0]["values"] == {"loss": "nan", "gradient_norm": 1.0, "skipped": 1.0, "answer": "nan", "focal": 0.25}
    assert lines[0]["records"] == ["parts: image 1"], "of the step with index 1, the second"
    assert len(said) == 3 and "step 2 is not applied" in said[0] and "answer nan" in said[0]


def test_several_in_a_row_stop_with_the_command_that_replays_the_first(tmp_path):
    guard = guard_of(tmp_path, [], most=2)
    guard.step(1, metrics())
    guard.step(2, metrics(norm=NAN))
    guard.step(3, metrics(norm=NAN))
    with pytest.raises(InputError, match=rf"steps 2 to 3 .*replay_step.py --workdir={tmp_path} --step=2"):
        guard.finish()


def test_the_host_runs_ahead_by_two_steps_at_most(tmp_path):
    """Numbers of a step are asked for, which waits for them, when the step after the next is dispatched."""
    asked: list[int] = []

    class Numbers(dict):
        def __getitem__(self, name):
            asked.append(self.number)
            return super().__getitem__(name)

    guard = guard_of(tmp_path, [])
    for step in range(1, 6):
        numbers = Numbers(metrics())
        numbers.number = step
        guard.step(step, numbers)
        assert max(asked, default=0) == max(step - AHEAD, 0)


def test_spikes_are_logged_against_the_median_before_them(tmp_path):
    said: list[str] = []
    guard = guard_of(tmp_path, said)
    for step in range(1, LEAST + 1):
        guard.step(step, metrics(loss=500.0 if step == 3 else 1.0 + 0.01 * step))  # too early to tell
    guard.step(LEAST + 1, metrics(loss=9.0, norm=30.0))
    guard.finish()
    guard.close()
    (line,) = lines_of(tmp_path / "spikes.jsonl")
    assert (line["step"], line["name"], line["value"], line["median"]) == (LEAST + 1, "gradient_norm", 30.0, 1.0)
    assert said == [f"warning: gradient_norm 30 of step {LEAST + 1} is 30 times the median before it"]


def test_only_the_main_process_writes_and_all_stop(tmp_path):
    guard = guard_of(tmp_path, [], most=1, is_main_process=False)
    guard.step(1, metrics(loss=NAN))
    with pytest.raises(InputError):
        guard.finish()
    guard.close()
    assert not list(tmp_path.iterdir())

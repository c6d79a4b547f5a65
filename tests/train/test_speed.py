"""What training says of itself: FLOPs of content, rates of all processes, compilations, traces."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.data.tally import Tally, Taught
from iadgpt_jax.flops import step_flops
from iadgpt_jax.models.registry import preset
from iadgpt_jax.train.profile import Profile
from iadgpt_jax.train.speed import Speed, content_flops
from iadgpt_jax.train.watch import Recompilations

SHAPE = RowShape(slots=400, images=8, patches=64, maps=6, keyword_rows=8, targets=40, mask_side=28)
FULL = Tally(
    slots=800, slots_room=800, images=16, images_room=16, maps=12, pairs=2 * 400 * 401 // 2,
    tasks={"inspect": Taught(instances=2, questions=12, answer_tokens=80)},
)  # fmt: skip


def test_full_rows_count_as_the_formula_says_and_padding_counts_nothing():
    """Two full causal rows have the formula's FLOPs. The same content in four rows has them too, up to the products
    that grow with the row: keyword rows over all slots, less than a hundredth here."""
    config = preset("tiny")
    full = content_flops(config, SHAPE, FULL, frozen="", maps=True)
    assert full == pytest.approx(step_flops(config, SHAPE, 2))
    half_empty = dataclasses.replace(FULL, slots_room=1600, images_room=32)
    assert content_flops(config, SHAPE, half_empty, frozen="", maps=True) == pytest.approx(full, rel=0.01)
    assert content_flops(config, SHAPE, FULL, frozen=r"^vision/", maps=False) < full
    assert content_flops(config, SHAPE, Tally(), frozen="", maps=True) == 0


def test_rates_are_of_what_a_tally_counts_on_all_devices():
    speed = Speed(lambda tally: tally.slots * 1e9, devices=16, peak=1e12)
    assert speed.rates(FULL, 2.0) == {
        "tokens_per_second": 400, "images_per_second": 8, "queries_per_second": 6,
        "model_teraflops_per_second": 0.4, "mfu": pytest.approx(0.025),
    }  # fmt: skip
    assert "mfu" not in dataclasses.replace(speed, peak=None).rates(FULL, 2.0)


def test_a_second_compilation_is_counted_and_said(capsys):
    def step(x):
        return x + 1

    def other(x):
        return x - 1

    compiled = Recompilations("step")
    jitted = jax.jit(step)
    jitted(jnp.zeros(3))
    jitted(jnp.ones(3))
    jax.jit(other)(jnp.zeros(3))
    assert compiled.count == 0 and capsys.readouterr().err == ""
    jitted(jnp.zeros(4))
    assert compiled.count == 1
    assert "compiled again" in capsys.readouterr().err
    compiled.close()
    jitted(jnp.zeros(5))
    assert compiled.count == 1


def test_chosen_steps_are_traced(tmp_path):
    profile = Profile(str(tmp_path), first=2, steps=2)
    started = []
    for number in range(1, 6):
        with profile.step(number):
            outputs = jnp.ones(3) * number
            started.append(profile.running)
        profile.after(number, outputs)
    profile.close()
    assert started == [False, True, True, False, False]
    (trace,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    assert trace.stat().st_size > 0


def test_no_steps_no_trace(tmp_path):
    profile = Profile(str(tmp_path), first=1, steps=0)
    with profile.step(1):
        pass
    profile.after(1, jnp.ones(1))
    assert not list(tmp_path.iterdir())

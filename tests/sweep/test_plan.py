"""From a sweep to its jobs: equal content is one job, and a sweep that cannot run is one line before anything does."""

from __future__ import annotations

import dataclasses

import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.sweep.plan import identity, scaled
from iadgpt_jax.sweep.spec import Column, Evaluation, Setting, Stage
from tests.sweep import stub


@pytest.fixture
def plan(tmp_path):
    return lambda *arguments, **options: stub.plan(tmp_path, tmp_path / "work", *arguments, **options)


def kinds(made):
    found = {}
    for job in made.jobs.values():
        found.setdefault(job.kind, []).append(job)
    return found


def test_a_stage_is_shared_by_the_content_of_its_configuration(plan):
    """Not by its name: writing a value out that the configuration has anyway changes nothing, another value does."""
    same = Setting("same", ("✗",), (Stage("stage1", {"rate": 1.0}), Stage("stage2")))
    other = Setting("other", ("✗",), (Stage("stage1", {"rate": 2.0}), Stage("stage2")))
    made = plan(stub.sweep(same=same, other=other), seeds=(0,))
    found = {kind: len(jobs) for kind, jobs in kinds(made).items()}
    assert found == {"stage1": 2, "stage2": 2, "evaluate": 4}  # stage 2 of `other` starts from other weights
    jobs = {trial.setting.name: trial.jobs for trial in made.trials}
    assert jobs["same"] == jobs["long"] and jobs["other"][1] != jobs["long"][1]
    assert made.jobs[jobs["long"][0]].needed_by == ("short seed 0", "long seed 0", "part seed 0", "same seed 0")


def test_what_changes_no_weight_makes_no_other_stage(plan):
    assert plan(overrides=["--config.log_every=7"]).jobs.keys() == plan().jobs.keys()
    assert not plan(overrides=["--config.rate=3.0"]).jobs.keys() & plan().jobs.keys()
    assert not plan(seeds=(0,)).jobs.keys() & plan(seeds=(1,)).jobs.keys()


def test_the_folder_is_no_part_of_a_stage(tmp_path):
    """A workdir can be moved."""
    here, there = (stub.plan(tmp_path, tmp_path / name) for name in ("here", "there"))
    assert here.jobs.keys() == there.jobs.keys()


def test_every_job_stands_behind_the_one_it_starts_from(plan):
    made = plan()
    levels = made.levels()
    assert [{job.kind for job in level} for level in levels] == [{"stage1"}, {"stage2", "evaluate"}, {"evaluate"}]
    for job in made.jobs.values():
        start = next((word for word in job.command if "init_from" in word or "--checkpoint" in word), None)
        before = made.jobs[job.before] if job.before else None
        # From the very step, so that a stage that was cut off is no start.
        assert start == (None if before is None else f"{start.partition('=')[0]}={before.result}")
        assert before is None or before.result.name == str(before.steps)


def test_only_the_first_stage_of_a_chain_starts_from_elsewhere(plan, tmp_path):
    made = plan(overrides=["--config.init_from=/weights"], seeds=(0,))
    first, second = (made.jobs[key] for key in made.trials[1].jobs[:2])
    assert "--config.init_from=/weights" in first.command and "--config.init_from=/weights" not in second.command
    assert made.jobs.keys() != plan(seeds=(0,)).jobs.keys()
    (tmp_path / "start" / "checkpoints" / "5").mkdir(parents=True)
    before = identity(str(tmp_path / "start"))
    (tmp_path / "start" / "checkpoints" / "9").mkdir()
    assert identity(str(tmp_path / "start")) != before


@pytest.mark.parametrize("scale, steps, warmup", [(0.1, 100, 3), (0.0001, 2, 0), (2.0, 2000, 60)])
def test_a_scale_makes_steps_and_warm_up_shorter(scale, steps, warmup):
    config = stub.configure("stage3", ["--config.steps=1000", "--config.optimizer.warmup=30"])
    *words, saving = scaled(config, scale)
    assert words == [f"--config.steps={steps}", f"--config.optimizer.warmup={warmup}"]
    assert saving == f"--config.checkpoint_every={max(1, min(500, steps // 4))}"
    assert scaled(config, 1) == ["--config.checkpoint_every=250"]


def test_flags_reach_every_evaluation_but_not_over_a_setting(plan):
    made = plan(flags={"seeds": "5", "ratio": "0.1"}, datasets={"detection": "/visa"})
    found = {job.command_flag("ratio") for job in kinds(made)["evaluate"]}
    assert found == {"0.1", "0.5"}
    assert all("--seeds=5" in job.command and "--dataset=/visa" in job.command for job in kinds(made)["evaluate"])


def test_an_evaluation_without_a_dataset_is_left_out(plan):
    of = dataclasses.replace(
        stub.sweep(),
        evaluations={"detection": Evaluation("here"), "reasoning": Evaluation("")},
        columns=(*stub.sweep().columns, Column("sbert", "SBERT", "sbert", "reasoning")),
    )
    assert all(len(trial.evaluations) == 1 for trial in plan(of).trials)
    assert all(len(trial.evaluations) == 2 for trial in plan(of, datasets={"reasoning": "/visa_dr"}).trials)


def test_a_stage_that_cannot_run_is_named_before_anything_runs(plan, tmp_path):
    wrong = Setting("wrong", ("✗",), (Stage("stage1", {"optimizer.warm": 3}),))
    with pytest.raises(InputError, match="setting 'wrong', stage1: no such configuration key: optimizer.warm"):
        plan(stub.sweep(wrong=wrong))
    wrong = Setting("wrong", ("✗",), (Stage("stage1", {"rate": "fast"}),))
    with pytest.raises(InputError, match="setting 'wrong', stage1: --config.rate=fast is not a valid float"):
        plan(stub.sweep(wrong=wrong))

    def check(config):
        if config.rate > 1:
            raise InputError("config.rate is too large")

    wrong = Setting("wrong", ("✗",), (Stage("stage1", {"rate": 9.0}),))
    with pytest.raises(InputError, match="setting 'wrong', stage1: config.rate is too large"):
        plan(stub.sweep(wrong=wrong), check=check)
    assert not (tmp_path / "work").exists()


STAGES = (Stage("stage1"),)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"again": Setting("short", ("✗",), STAGES)}, "has setting 'short' twice"),
        ({"again": Setting("a b", ("✗",), STAGES)}, "setting 'a b' is no name"),
        ({"again": Setting("../up", ("✗",), STAGES)}, "setting '../up' is no name"),
        ({"again": Setting("again", (), STAGES)}, "0 marks for 1 heads"),
        ({"again": Setting("again", ("✗",), ())}, "has no stage"),
        ({"again": Setting("again", ("✗",), STAGES, {}, {"auroc": 1.0})}, "published numbers of auroc"),
    ],
)
def test_a_sweep_that_does_not_fit_together_is_refused(settings, said):
    with pytest.raises(InputError, match=said):
        stub.sweep(**settings)


def test_a_setting_that_is_not_there_is_refused(plan):
    with pytest.raises(InputError, match="--only=longer: sweep 'stub' has short, long, part"):
        plan(only=["longer"])
    assert [trial.setting.name for trial in plan(only=["part"], seeds=(0,)).trials] == ["part"]
    with pytest.raises(InputError, match="column 'sbert' is of evaluation 'reasoning'"):
        dataclasses.replace(stub.sweep(), columns=(Column("sbert", "SBERT", "sbert", "reasoning"),))

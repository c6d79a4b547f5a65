"""launch/sweep.py: the shipped sweeps are what they say at every size, and faults are one line before anything runs."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from configs.sweeps.common import OF_STAGE2, SECONDS, aurocs, chain, detection
from iadgpt_jax.sweep.plan import Plan, configuration, make_plan
from iadgpt_jax.sweep.spec import Setting, Sweep
from launch.configuration import ROOT, read_config
from launch.sweep import main, read_sweep, split_words

SWEEPS = ("components", "retention", "pixel_loss", "positions", "synthesis")


def plan_at(name: str, size: str = "tiny", **options) -> Plan:
    options = {"seeds": (0,)} | options
    found = read_sweep(f"configs/sweeps/{name}.py", size)
    return make_plan(found, Path("work"), size=size, configure=read_config, **options)


def config_of(plan: Plan, setting: str, stage: str) -> dict:
    trial = next(trial for trial in plan.trials if trial.setting.name == setting)
    (job,) = [plan.jobs[key] for key in trial.jobs if plan.jobs[key].kind == stage]
    return json.loads(job.configuration)


def stages(plan: Plan) -> dict[str, list[str]]:
    return {trial.setting.name: [plan.jobs[key].kind for key in trial.jobs] for trial in plan.trials}


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_is_planned_at_every_size(name):
    assert {path.stem for path in (ROOT / "configs" / "sweeps").glob("*.py")} == {*SWEEPS, "common", "__init__"}
    tiny, full, on_slice = (plan_at(name, size) for size in ("tiny", "7b,paper", "7b@v5p:2x2x4"))
    assert {job.kind for job in tiny.jobs.values()} <= SECONDS.keys()
    assert "stage3_finish" not in {job.kind for job in full.jobs.values()}
    assert len(full.trials) == len(on_slice.trials) == len(tiny.trials)


def test_components_switch_what_the_papers_table_switches():
    plan = plan_at("components")
    assert stages(plan) == {
        "stage3": ["stage3", "stage3_finish", "evaluate"],
        "stages13": ["stage1", "stage3", "stage3_finish", "evaluate"],
        **{name: ["stage1", "stage2", "stage3", "stage3_finish", "evaluate"]
           for name in ("stages123", "layers", "compression")},
    }  # fmt: skip
    for setting in ("stage3", "stages13", "stages123"):
        assert config_of(plan, setting, "stage3")["frozen"] == "fusion/gates$"
        # The finish freezes the ViT as it does without a sweep, and the gates with it.
        assert config_of(plan, setting, "stage3_finish")["frozen"] == r"^vision/(?!fusion/|merger/)|fusion/gates$"
    assert config_of(plan, "layers", "stage1")["frozen"] == ""
    ratios = {name: config_of(plan, name, "stage3")["mixture"]["inspect"]["ratios"] for name in stages(plan)}
    assert ratios == dict.fromkeys(("stage3", "stages13", "stages123", "layers"), [1.0]) | {"compression": [1.0, 0.2]}
    found = {trial.setting.name: plan.jobs[trial.jobs[-1]].command_flag("ratio") for trial in plan.trials}
    assert set(found.values()) == {"1.0", "0.2"} and found["compression"] == "0.2"


@pytest.mark.parametrize("size", ["tiny", "7b"])
def test_without_stage_2_stage_3_replays_nothing_of_it(size):
    (stage3, *_) = chain(size, stages=("stage3",))
    assert all(stage3.changes[f"mixture.{task}.weight"] == 0 for task in OF_STAGE2)
    assert "mixture.pair_difference.weight" not in chain(size)[-1].changes


def test_sweeps_share_one_another_s_stages():
    """The unchanged chain of a seed is trained once for four tables."""
    whole = {name: set(plan_at(name).jobs) for name in SWEEPS}
    chain = {key for key in whole["retention"] if not key.startswith("evaluate-")}
    assert len(chain) == 4
    assert all(chain <= jobs for jobs in whole.values())
    first = {name: sum(key.startswith("stage1-") for key in jobs) for name, jobs in whole.items()}
    assert first == {"components": 2, "retention": 1, "pixel_loss": 1, "positions": 2, "synthesis": 1}
    assert len(whole["retention"]) == 4 + 5
    assert len(whole["components"] & whole["pixel_loss"]) == 5  # the evaluation at two shots, too


def test_pixel_loss_and_layers_are_off_in_every_stage_that_has_them():
    plan = plan_at("pixel_loss")
    for stage in ("stage2", "stage3", "stage3_finish"):
        loss = config_of(plan, "neither", stage)["loss"]
        assert all(loss[name] == 0 for name in ("focal", "dice_abnormal", "dice_normal", "binary_focal"))
        assert loss["answer"] > 0
        assert config_of(plan, "pixel_loss", stage)["model"]["map_layers"] == "last"
        assert config_of(plan, "pixel_loss", stage)["loss"]["focal"] > 0
    assert config_of(plan, "both", "stage3")["model"]["map_layers"] is None
    full = plan_at("pixel_loss", "7b")  # whose stage 2 has no maps: all settings share it
    assert [job.kind for job in full.jobs.values() if job.training].count("stage2") == 1
    assert config_of(full, "neither", "stage3")["loss"]["focal"] == 0
    assert config_of(full, "pixel_loss", "stage3")["model"]["map_layers"] == "last"


def test_positions_and_synthesis_change_what_they_name():
    positions = plan_at("positions")
    assert config_of(positions, "qwen", "stage1")["model"]["positions"] == "qwen"
    assert config_of(positions, "aligned", "stage1")["model"]["positions"] is None  # as tiny has it
    assert config_of(plan_at("positions", "7b"), "aligned", "stage1")["model"]["positions"] == "aligned"
    synthesis = plan_at("synthesis")
    for stage in ("stage2", "stage3", "stage3_finish"):
        tasks = config_of(synthesis, "cutpaste_nsa", stage)["mixture"]
        assert tasks["pair_difference"]["synthetic"] == 1 and tasks["inspect"]["synthetic"] == 1
        assert tasks["inspect"]["synthesizers"] == ["cutpaste", "nsa"]
        assert config_of(synthesis, "photographed", stage)["mixture"]["pair_difference"]["twins"] == 0


@pytest.mark.parametrize("name", SWEEPS)
def test_training_reads_the_configuration_that_a_stage_is_known_by(name, monkeypatch):
    """From the words of the command, by flags as launch/train.py has them: tuples, expressions, scaled steps."""
    for job in plan_at(name, steps_scale=0.3, root=f"{ROOT}/").jobs.values():
        if job.training:
            words = ["train.py", *(word for word in job.command if word.startswith("--config"))]
            monkeypatch.setattr("sys.argv", words)
            values = flags.FlagValues()
            config = config_flags.DEFINE_config_file("config", lock_config=True, flag_values=values)
            values(words)
            assert configuration(config.value) == job.configuration
            assert config.value.steps == job.steps


def test_the_sweep_of_the_docs_is_one():
    """The example a reader copies, with its imports."""
    page = (ROOT / "docs" / "ablations.md").read_text()
    example = textwrap.dedent(page[page.index("    def get_sweep(") :])
    names = {"Setting": Setting, "Sweep": Sweep, "aurocs": aurocs, "chain": chain, "detection": detection}
    exec(example, names)
    found = names["get_sweep"]()
    plan = make_plan(found, Path("work"), size="tiny", seeds=(0,), configure=read_config)
    assert [job.kind for job in plan.jobs.values()].count("stage3_finish") == 3
    assert sum(job.training for job in plan.jobs.values()) == 3 + 3


def test_a_dry_run_prints_the_plan_and_touches_nothing(tmp_path, capsys):
    workdir = tmp_path / "work"
    arguments = [f"--workdir={workdir}", "--seeds=2", "--only=stages123,layers", "--steps_scale=0.1", "--dry_run"]
    assert main(["--config=configs/sweeps/components.py", *arguments]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("sweep components: 2 settings × 2 seeds; 20 jobs, 20 without those that trials share")
    assert len(lines) == 21 and "190 steps" in lines[3] and "for stages123 seed 0" in lines[3]
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config=configs/sweeps/none.py"], "no configuration configs/sweeps/none.py"),
        (["--config=configs/stage1.py"], "configs/stage1.py is no sweep: it needs a function get_sweep(size)"),
        (["--config={broken}"], "cannot be read: SyntaxError"),
        (["--config={raises}"], "cannot be read: ZeroDivisionError"),
        (["--config={other}"], "is no sweep"),
        (["--config=configs/sweeps/components.py:8b"], "no configuration for size '8b'"),
        (["--only=none"], "--only=none: sweep 'components' has stage3"),
        (["--seeds=0"], "at least one seed"),
        (["--parallel=0"], "at least one job"),
        (["--steps_scale=0"], "choose a number above 0"),
        (["--steps_scale=nan"], "choose a number above 0"),
        (["--sedes=3"], "no such flag: --sedes; did you mean --seeds?"),
        (["--", "--config.stepz=3"], "setting 'stage3', stage3: no such configuration key: stepz"),
        (["--", "--config.rows=0"], "setting 'stage3', stage3: config.rows is 0"),
        (["--", "--evaluate.seedz=3"], "no such flag: --seedz; did you mean --seed?"),
        (["--", "--evaluate.seeds=many"], "invalid int value: 'many'"),
        (["--", "--evaluate.out=x"], "of a flag that the sweep does not set itself"),
        (["--", "steps=3"], "overrides like --config.KEY=VALUE"),
        (["--workdir="], "--workdir=DIR is missing"),
        (["--plan=7b"], "write SIZE@SLICE"),
        (["--plan=7b@v5p:2x2x4", "--reports={none}"], "run python launch/compile.py --config=configs/stage"),
    ],
)
def test_faults_are_one_line(arguments, said, tmp_path, capsys):
    files = {"broken": "def get_sweep(size:", "raises": "1 / 0", "other": "def get_sweep(size): return 3"}
    paths = {name: tmp_path / f"{name}.py" for name in files} | {"none": tmp_path / "none"}
    for name, text in files.items():
        paths[name].write_text(text)
    arguments = [word.format(**paths) for word in arguments]
    base = ["--config=configs/sweeps/components.py", f"--workdir={tmp_path / 'work'}", "--dry_run"]
    with pytest.raises(SystemExit) as end:
        main([*base, *arguments])
    out, error = capsys.readouterr()
    assert end.value.code == 2 and out == ""
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error


def test_flags_of_evaluations_stand_beside_those_of_the_configuration():
    assert split_words(["--config.rows=4", "--evaluate.seeds=5"]) == (["--config.rows=4"], {"seeds": "5"})


def test_a_table_is_made_of_what_is_there(tmp_path, capsys):
    """Of nothing: all rows are there, without numbers of ours, and every trial is named."""
    arguments = ["--config=configs/sweeps/retention.py", f"--workdir={tmp_path}", "--seeds=1", "--table"]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert out.count("not run yet") == 5 and "93.5" in out
    found = json.loads((tmp_path / "retention" / "results.json").read_text())
    assert [row["marks"]["compression"] for row in found["rows"]] == ["0.00%", "45.00%", "60.00%", "67.50%", "71.25%"]
    assert {path.name for path in (tmp_path / "retention").iterdir()} == {
        "results.json", "table.txt", "table.csv", "table.tex", "plot.svg", "plot.png",
    }  # fmt: skip


def test_the_cost_of_a_sweep_is_steps_times_the_bound_of_a_step(tmp_path, capsys):
    """Retention at 7B: one chain for each seed, five evaluations of three draws of 2,162 images, 384 at once."""
    steps = {kind: read_config(f"configs/{kind}.py:7b@v5p:2x2x4") for kind in ("stage1", "stage2", "stage3")}
    for kind, name in [*((kind, kind) for kind in steps), ("evaluate", "score")]:
        rows = 384 if kind == "evaluate" else steps[kind].rows
        report = {"fits": True, "rows": rows, "roofline": {"exposed_step_seconds": 0.5}}
        (tmp_path / f"{name}-7b-v5p-2x2x4.json").write_text(json.dumps(report))
    arguments = ["--config=configs/sweeps/retention.py", "--seeds=2", "--plan=7b@v5p:2x2x4", f"--reports={tmp_path}"]
    assert main([*arguments, "--price=4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    batches = 6  # of 2,162 images
    total = 2 * sum(config.steps for config in steps.values()) + 2 * 5 * 3 * batches
    hours = total * 0.5 / 3600
    cells = {line.split()[0]: line.split()[1:] for line in lines[2:]}
    assert cells["stage2"][:3] == ["2", f"{2 * steps['stage2'].steps:,}", "0.50"]
    assert cells["evaluate"][:2] == ["10", f"{2 * 5 * 3 * batches}"]
    assert cells["in"][1:] == [f"{hours:.1f}", f"{16 * hours:,.0f}"]
    assert lines[-1] == f"at 4 a chip-hour: {64 * hours:,.0f}"
    (tmp_path / "stage2-7b-v5p-2x2x4.json").write_text(json.dumps({"fits": False, "topology": "v5p:2x2x4"}))
    with pytest.raises(SystemExit):
        main(arguments)
    assert "stage2 does not fit v5p:2x2x4" in capsys.readouterr().err

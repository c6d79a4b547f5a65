"""launch/cluster/render.py: what it renders is what the scheduler needs, and faults are found before the queue."""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess

import pytest
import yaml

from iadgpt_jax.errors import InputError
from launch.cluster.render import main
from launch.configuration import set_value

COMMON = ["--name=stage3", "--config=configs/stage3.py:7b", "--workdir=/shared/stage3", "--dry_run"]
KINDS = {
    "slurm": ["--nodes=4", "--gpus=8"],
    "jobset_tpu": ["--topology=v5p:2x2x4", "--image=registry/iadgpt:1", "--claim=data"],
    "jobset_gpu": ["--nodes=4", "--gpus=8", "--image=registry/iadgpt:1", "--claim=data"],
    "xpk": ["--topology=v5e:4x8", "--image=registry/iadgpt:1", "--cluster=tpus"],
    "gce": ["--topology=v5p:2x2x4", "--tpu=pod", "--zone=us-east5-a"],
}
DATA = ["--config.init_from=/shared/qwen7b", "--config.source=/shared/parts"]  # without which training refuses
OVERRIDES = ["--", *DATA, "--config.frozen=^vision/(groups|patch)"]
COMMAND = ["python", "launch/train.py", "--config=configs/stage3.py:7b", "--workdir=/shared/stage3", *OVERRIDES[1:]]


def rendered(capsys, kind, *more, overrides=OVERRIDES) -> str:
    main([kind, *COMMON, *KINDS[kind], *more, *overrides])
    return capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_runs_the_training_command(capsys, kind, tmp_path):
    """The very words, through every layer of quoting."""
    text = rendered(capsys, kind)
    assert "{{" not in text and "{%" not in text
    if kind.startswith("jobset"):
        (job,) = yaml.safe_load(text)["spec"]["replicatedJobs"]
        assert job["template"]["spec"]["template"]["spec"]["containers"][0]["command"] == COMMAND
        return
    # Run the script with stand-ins that print the words they get, one per line.
    script = "".join(f'{name}() {{ printf "%s\\n" "$@"; }}\n' for name in ("srun", "xpk", "gcloud")) + text
    script = script.replace("cd /iadgpt_jax\n", "").replace("source .venv/bin/activate\n", "")
    words = subprocess.run(["bash"], input=script, text=True, capture_output=True, check=True).stdout.splitlines()
    if kind != "slurm":
        (line,) = [word for word in words if "launch/train.py" in word]
        words = shlex.split(line.split("&&")[-1])
    assert words[-len(COMMAND) :] == COMMAND


@pytest.mark.parametrize("kind", KINDS)
def test_a_workdir_and_a_start_in_gs_are_passed_on_and_other_paths_there_refused(capsys, kind):
    there = ["--", "--config.init_from=gs://bucket/qwen7b", "--config.source=/shared/parts"]
    text = rendered(capsys, kind, "--workdir=gs://bucket/stage3", overrides=there)
    assert "gs://bucket/stage3" in text and "gs://bucket/qwen7b" in text
    for wrong in (["--", there[1], "--config.source=gs://bucket/parts"], ["--", "--config.init_from=s3://bucket/x"]):
        with pytest.raises(SystemExit):
            main([kind, *COMMON, *KINDS[kind], *wrong])
        assert "is in a bucket" in capsys.readouterr().err


def test_a_job_that_is_stuck_or_lost_a_process_is_queued_again_as_often_as_it_may(capsys):
    """By its exit status: 143 stopped, 75 stuck, 134 and 137 ended with others; 2 is faulty input."""
    script = rendered(capsys, "slurm", "--restarts=3")
    script = script.replace("cd /iadgpt_jax\n", "").replace("source .venv/bin/activate\n", "")
    for status, restarts, again in [
        (143, 9, True), (75, 2, True), (75, 3, False), (134, 0, True), (137, 0, True), (2, 0, False), (0, 0, False),
    ]:  # fmt: skip
        stand_ins = f"srun() {{ return {status}; }}\nscontrol() {{ echo again; }}\n"
        ended = subprocess.run(
            ["bash"], input=stand_ins + script, text=True, capture_output=True,
            env=os.environ | {"SLURM_RESTART_COUNT": str(restarts), "SLURM_JOB_ID": "1"},
        )  # fmt: skip
        assert (ended.returncode, ended.stdout) == (status, "again\n" if again else ""), (status, ended.stderr)


def test_a_partition_is_named_where_one_is_asked_for(capsys):
    assert "#SBATCH --partition=gpu\n" in rendered(capsys, "slurm", "--partition=gpu")
    assert "partition" not in rendered(capsys, "slurm")


def test_a_slice_of_tpus_has_a_pod_per_host_and_its_chips(capsys):
    (job,) = yaml.safe_load(rendered(capsys, "jobset_tpu", "--slices=2"))["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert job["replicas"] == 2 and job["template"]["spec"]["parallelism"] == 4
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice", "cloud.google.com/gke-tpu-topology": "2x2x4",
    }  # fmt: skip
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": 4}
    assert "--tpu-type=v5litepod-32" in rendered(capsys, "xpk")


def test_pods_of_gpus_are_named_as_the_program_reads_it(capsys):
    """The three variables of iadgpt_jax/distributed.py; pod 0 under the host name that JobSet gives it."""
    from iadgpt_jax.distributed import process_from_variables

    (job,) = yaml.safe_load(rendered(capsys, "jobset_gpu"))["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    variables = {entry["name"]: entry for entry in spec["template"]["spec"]["containers"][0]["env"]}
    index = variables["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert index == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    values = {name: entry.get("value", "3") for name, entry in variables.items()}
    assert process_from_variables(values) == ("stage3-node-0-0.stage3:8482", 4, 3)
    assert spec["completionMode"] == "Indexed" and spec["parallelism"] == spec["completions"] == 4


@pytest.mark.parametrize(
    ("kind", "more", "overrides", "said"),
    [
        ("slurm", ["--nodes=3"], [], "divide by the 24 devices"),
        ("slurm", [], ["--config.mesh.fsdp=5"], "does not cover 32 devices"),
        ("slurm", [], [], "starts from published weights"),
        ("slurm", [], DATA[:1], "needs images"),
        ("slurm", [], [*DATA, "--config.keep=0"], "config.keep is 0"),
        ("slurm", [], [*DATA, "--config.mesh.data=-1", "--config.mesh.fsdp=-1"], "of which one may be -1"),
        ("slurm", [], ["--config.mesh.fsd=5"], "no such configuration key: mesh.fsd"),
        ("slurm", [], ["--config.rows=many"], "--config.rows=many is not a valid int"),
        ("slurm", [], ["--steps=5"], "overrides like --config.KEY=VALUE, not --steps=5"),
        ("slurm", ["--config=configs/stage9.py"], [], "no configuration configs/stage9.py"),
        ("slurm", ["--nodes=0"], [], "--nodes=0: choose at least 1"),
        ("jobset_tpu", ["--topology=v5p"], [], "write KIND:SHAPE"),
        ("jobset_tpu", ["--topology=v9:2x2"], [], "kinds: v4, v5e"),
        ("jobset_tpu", ["--name=Stage_3"], [], "lower-case letters"),
        ("jobset_gpu", ["--workdir=/tmp/stage3"], [], "lost with its pod"),
        ("xpk", ["--image=a b"], [], "no spaces"),
    ],
)
def test_faults_are_one_line_and_submit_nothing(capsys, kind, more, overrides, said):
    with pytest.raises(SystemExit) as end:
        rendered(capsys, kind, *more, overrides=["--", *overrides])
    assert end.value.code == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("error: ") and error.count("\n") == 1 and said in error


def test_without_a_dry_run_the_file_is_written_and_handed_in(tmp_path, monkeypatch, capsys):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/sh\ncp "$1" "$1.submitted"\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    arguments = ["slurm", *COMMON[:-1], *KINDS["slurm"], f"--out={tmp_path / 'job.sbatch'}", "--", *DATA]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    assert (tmp_path / "job.sbatch.submitted").read_text() == rendered(capsys, "slurm", overrides=["--", *DATA])


def test_overrides_of_every_kind_are_read():
    settings = importlib.import_module("configs.stage3").get_config("7b")
    words = {
        "rows": "64", "optimizer.rate": "3e-6", "scan_unroll": "true", "mixture.inspect.ratios": "(1,.2)",
        "model.positions": "aligned", "model.taps": "false", "categories": "12",
    }  # fmt: skip
    for key, text in words.items():
        set_value(settings, key, text)
    assert (settings.rows, settings.optimizer.rate, settings.scan_unroll) == (64, 3e-6, True)
    assert settings.mixture.inspect.ratios == (1, 0.2) and settings.categories == "12"
    assert settings.model.positions == "aligned" and settings.model.taps is False
    with pytest.raises(InputError, match="--config.model.taps=perhaps is not a valid bool"):
        set_value(settings, "model.taps", "perhaps")

"""A sweep's job files: every missing job once, in the order of need, handed in so that one failure stops no other."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from iadgpt_jax.sweep.plan import make_plan
from launch.cluster.render import main
from launch.configuration import read_config
from launch.sweep import read_sweep

KINDS = {
    "slurm": ["--nodes=1", "--gpus=8"],
    "jobset_tpu": ["--topology=v5p:2x2x4", "--image=registry/iadgpt:1", "--claim=data"],
    "jobset_gpu": ["--nodes=1", "--gpus=8", "--image=registry/iadgpt:1", "--claim=data"],
}
OVERRIDES = ["--config.init_from=/shared/qwen7b", "--config.source=/shared/parts", "--evaluate.seeds=5"]
WORKDIR = Path("/shared/sweeps")


def rendered(kind: str, out: Path, *more: str) -> dict[str, str]:
    config = "configs/sweeps/components.py:7b"
    arguments = [kind, "--name=table3", f"--config={config}", f"--workdir={WORKDIR}", "--seeds=2", f"--out={out}"]
    main([*arguments, *KINDS[kind], "--detection=/shared/visa", *more, "--", *OVERRIDES])
    return {path.name: path.read_text() for path in out.iterdir()}


def planned() -> list[list[list[str]]]:
    """The words of every job, by depth, as launch/sweep.py would run them in the project's folder."""
    plan = make_plan(
        read_sweep("configs/sweeps/components.py", "7b"), WORKDIR, size="7b", seeds=range(2), configure=read_config,
        overrides=OVERRIDES[:2], flags={"seeds": "5"}, datasets={"detection": "/shared/visa"},
    )  # fmt: skip
    return [[["python", *job.command] for job in level] for level in plan.levels()]


def stand_in(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/bash\n" + script)
    (folder / name).chmod(0o755)


def test_slurm_runs_an_array_for_every_depth(tmp_path):
    """The very words, through every layer of quoting."""
    files = rendered("slurm", tmp_path / "jobs")
    levels = planned()
    assert sorted(files) == ["depth-0.sbatch", "depth-1.sbatch", "depth-2.sbatch", "depth-3.sbatch", "submit.sh"]
    stand_in(tmp_path / "bin", "srun", 'exec "${@:3}"')
    stand_in(tmp_path / "bin", "python", 'printf "%s\\n" python "$@"')
    for number, level in enumerate(levels):
        text = files[f"depth-{number}.sbatch"]
        assert f"#SBATCH --array=0-{len(level) - 1}\n" in text and "{{" not in text
        text = text.replace("cd /iadgpt_jax\n", "").replace("source .venv/bin/activate\n", "")
        for index, words in enumerate(level[:3]):
            environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
            environment |= {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_JOB_ID": "7"}
            done = subprocess.run(["bash"], input=text, env=environment, text=True, capture_output=True, check=True)
            assert done.stdout.splitlines() == words


def test_slurm_waits_for_the_end_of_an_array_not_for_its_success(tmp_path):
    rendered("slurm", tmp_path / "jobs")
    log = tmp_path / "log"
    stand_in(tmp_path / "bin", "sbatch", f'echo "$@" >> {log}; echo "1$(wc -l < {log});cluster"')
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        [tmp_path / "jobs" / "submit.sh"], env=environment, text=True, capture_output=True, check=True
    )
    assert log.read_text().splitlines() == [
        "--parsable depth-0.sbatch",
        *(f"--parsable --dependency=afterany:1{depth} depth-{depth}.sbatch" for depth in (1, 2, 3)),
    ]
    told, command = done.stdout.splitlines()
    assert told == "when job 14 has ended:"
    assert shlex.split(command) == [
        "python", "launch/sweep.py", "--config=configs/sweeps/components.py:7b", f"--workdir={WORKDIR}", "--seeds=2",
        "--detection=/shared/visa", "--table", "--", *OVERRIDES,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["jobset_tpu", "jobset_gpu"])
def test_a_jobset_runs_each_job(tmp_path, kind):
    files = rendered(kind, tmp_path / "jobs")
    for number, level in enumerate(planned()):
        jobs = list(yaml.safe_load_all(files[f"depth-{number}.yaml"]))
        assert [job["metadata"]["name"] for job in jobs] == [f"table3-{number}-{i}" for i in range(len(level))]
        pods = [job["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"] for job in jobs]
        assert [pod["containers"][0]["command"] for pod in pods] == level
        if kind == "jobset_gpu":  # pod 0 under the name of its own JobSet
            assert pods[1]["containers"][0]["env"][0]["value"].startswith(
                f"table3-{number}-1-node-0-0.table3-{number}-1:"
            )


def test_jobsets_of_the_next_depth_wait_until_those_before_have_ended(tmp_path):
    """Ended, whichever way: a stand-in for kubectl lets each take two looks, and one of them fail."""
    rendered("jobset_tpu", tmp_path / "jobs")
    log = tmp_path / "log"
    stand_in(
        tmp_path / "bin", "kubectl",
        f'echo "$@" >> {log}; if [ $1 = get ] && [ $(grep -c "get jobset $3 " {log}) -ge 2 ]; then '
        'if [ $3 = table3-0-0 ]; then echo Failed; else echo Completed; fi; fi',
    )  # fmt: skip
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "POLL": "0"}
    subprocess.run([tmp_path / "jobs" / "submit.sh"], env=environment, capture_output=True, check=True, timeout=60)
    words = [line.split() for line in log.read_text().splitlines()]
    looked = [word[2] for word in words if word[0] == "get"]
    names = [f"table3-{depth}-{i}" for depth, level in enumerate(planned()) for i in range(len(level))]
    assert looked == [name for name in names for _ in range(2)]
    applied = [number for number, word in enumerate(words) if word[0] == "apply"]
    assert [words[number][-1] for number in applied] == [f"depth-{depth}.yaml" for depth in range(4)]
    for number, depth in zip(applied[1:], range(3), strict=True):
        assert words[number - 1][2].startswith(f"table3-{depth}-")


def test_what_has_finished_is_left_out(tmp_path, monkeypatch):
    """As far as the workdir can be seen: here all evaluations at the last depth but one."""
    monkeypatch.setattr("tests.launch.test_sweep_jobs.WORKDIR", tmp_path / "work")
    kept, *finished = [words[-1].removeprefix("--out=") for words in planned()[3]]
    for out in finished:
        Path(out).mkdir(parents=True)
        (Path(out) / "metrics.json").write_text("{}")
    text = rendered("slurm", tmp_path / "jobs")["depth-3.sbatch"]
    assert finished and re.search(r"--array=0-0\n", text) and kept in text


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("slurm", ["--nodes=3"], "divide by the 24 devices"),
        ("slurm", ["--config=configs/stage3.py:7b"], "--seeds is for a sweep, and configs/stage3.py:7b is none"),
        ("jobset_gpu", ["--name=" + "a" * 47], "at most 48"),
    ],
)
def test_faults_are_one_line(tmp_path, capsys, kind, more, said):
    with pytest.raises(SystemExit) as end:
        rendered(kind, tmp_path / "jobs", *more)
    out, error = capsys.readouterr()
    assert end.value.code == 2 and out == "" and error.count("\n") == 1 and said in error
    assert not (tmp_path / "jobs").exists()


def test_kinds_without_a_scheduler_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["gce", "--config=configs/sweeps/components.py:7b", f"--workdir={WORKDIR}", "--topology=v5p:2x2x4",
              "--tpu=pod", "--zone=us-east5-a"])  # fmt: skip
    assert "gce renders no sweeps: choose slurm, jobset_tpu or jobset_gpu" in capsys.readouterr().err

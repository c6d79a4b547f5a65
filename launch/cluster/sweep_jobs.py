"""Job files of a sweep: for every depth of its stages one Slurm array or one file of JobSets, and a script that hands
them in, each when the one before it has ended.

A stage starts from the last step of the stage before it, by name. Where that was never reached, the job says so in one
line and fails, and the jobs of other settings go on.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from iadgpt_jax.errors import InputError
from iadgpt_jax.sweep.plan import Job, Plan
from launch.cluster.render import Kind, check_rendered, check_training, check_values, command_of, render
from launch.sweep import SWEEP_FLAGS, plan_of, read_sweep

ARRAYS = {"slurm": "slurm_array.sbatch"}  # kind -> template of all jobs of a depth; others have a file for each

SLURM = """\
#!/bin/bash
# Hands in {title}. An array waits until the one before it has ended, whatever came of its tasks.
set -euo pipefail
cd "$(dirname "$0")"
after=
{steps}
echo "when job $job has ended:"
echo {table}
"""
SLURM_STEP = """\
job=$(sbatch --parsable $after {file})
job=${{job%%;*}}
after=--dependency=afterany:$job"""
JOBSET = """\
#!/bin/bash
# Hands in {title}. JobSets of the next depth are made when all of one have ended, whatever came of them; this script
# waits for that. Started again, it goes on where it was: what has been applied already stays as it is.
set -euo pipefail
cd "$(dirname "$0")"
ended() {{ # NAME …
  for name in "$@"; do
    until [ -n "$(kubectl get jobset "$name" -o 'jsonpath={{.status.terminalState}}')" ]; do sleep "${{POLL:-30}}"; done
  done
}}
{steps}
echo {table}
"""
JOBSET_STEP = "kubectl apply -f {file}\nended {names}"


def render_sweep(flags: argparse.Namespace, kind: Kind, values: dict, overrides: Sequence[str]) -> None:
    """Write the sweep's job files into --out, or print them with --dry_run. Jobs that have finished, as far as
    --workdir can be seen from here, are left out.

    Raises:
      InputError: the kind runs no sweeps, or a stage does not suit the devices.
    """
    if flags.kind not in ("slurm", "jobset_tpu", "jobset_gpu"):
        raise InputError(f"{flags.kind} renders no sweeps: choose slurm, jobset_tpu or jobset_gpu")
    path, _, size = flags.config.partition(":")
    plan = plan_of(flags, read_sweep(path, size or "tiny"), size or "tiny", Path(flags.workdir), overrides, "")
    for job in plan.jobs.values():
        if job.training:
            words = [word for word in job.command if word.startswith("--config.")]
            check_training(job.command[1].removeprefix("--config="), words, values["devices"], values["processes"])
    files = job_files(plan, flags, kind, values, shlex.join(table_command(flags, overrides)))
    if not files:
        print("nothing to do: every job has finished", file=sys.stderr)
        return
    if flags.dry_run:
        print("\n".join(f"# ==== {name}\n{text}" for name, text in files.items()), end="")
        return
    out = flags.out or Path(flags.name)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (out / name).write_text(text)
    (out / "submit.sh").chmod(0o755)
    print(f"wrote {out}/: {', '.join(files)}; hand it in with {out}/submit.sh", file=sys.stderr)


def job_files(plan: Plan, flags: argparse.Namespace, kind: Kind, values: dict, table: str) -> dict[str, str]:
    """name -> text of the files of every depth that still has something to do, and of submit.sh."""
    levels = [[job for job in level if not job.finished] for level in plan.levels()]
    files, steps = {}, []
    for number, level in enumerate(level for level in levels if level):
        file = f"depth-{number}{Path(kind.file).suffix}"
        if flags.kind in ARRAYS:
            commands = [shlex.quote(command_of(flags, words(job))["command"]) for job in level]
            at = values | {"name": f"{flags.name}-{number}", "commands": commands}
            files[file] = render(ARRAYS[flags.kind], at)
            check_rendered(file, files[file])
            steps.append(SLURM_STEP.format(file=file))
        else:
            names = [f"{flags.name}-{number}-{index}" for index in range(len(level))]
            for name in names:
                check_values({"name": name}, flags.workdir)
            named = zip(names, level, strict=True)
            texts = [render(kind.file, values | {"name": name} | command_of(flags, words(job))) for name, job in named]
            for text in texts:
                check_rendered(file, text)
            files[file] = "---\n".join(texts)
            steps.append(JOBSET_STEP.format(file=file, names=" ".join(names)))
    if files:
        script = SLURM if flags.kind in ARRAYS else JOBSET
        title = f"the sweep {plan.sweep.name}"
        files["submit.sh"] = script.format(title=title, steps="\n".join(steps), table=shlex.quote(table))
        check_rendered("submit.sh", files["submit.sh"])
    return files


def words(job: Job) -> list[str]:
    return ["python", *job.command]


def table_command(flags: argparse.Namespace, overrides: Sequence[str]) -> list[str]:
    """What makes the table, once the jobs have ended."""
    given = [f"--{name}={value}" for name in SWEEP_FLAGS if (value := getattr(flags, name)) != SWEEP_FLAGS[name]]
    command = ["python", "launch/sweep.py", f"--config={flags.config}", f"--workdir={flags.workdir}", *given, "--table"]
    return [*command, *(["--", *overrides] if overrides else [])]

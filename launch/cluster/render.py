"""Make a job file for a cluster from a template in this folder, check it, and submit it.

    python launch/cluster/render.py slurm --name=stage3 --nodes=4 --gpus=8 --config=configs/stage3.py:7b \
        --workdir=/shared/stage3 --dry_run -- --config.init_from=/shared/qwen7b --config.source=/shared/parts
    python launch/cluster/render.py jobset_tpu --topology=v5p:2x2x4 --image=IMAGE --claim=CLAIM …
    python launch/cluster/render.py jobset_gpu --nodes=4 --gpus=8 --image=IMAGE --claim=CLAIM …
    python launch/cluster/render.py xpk --topology=v5p:2x2x4 --cluster=CLUSTER --image=IMAGE …
    python launch/cluster/render.py gce --topology=v5p:2x2x4 --tpu=NAME --zone=ZONE …
    python launch/cluster/render.py slurm --config=configs/sweeps/components.py:7b --seeds=3 --out=DIR …

--dry_run checks and prints. Without it the file is written to --out (default: named after the job) and submitted with
sbatch, kubectl apply, or bash. The configuration is read with its overrides (after --), and its mesh and rows are
compared with the devices asked for, so that a job that cannot run is refused before it waits in a queue.

A sweep (launch/sweep.py) becomes a folder, --out: for Slurm an array, for JobSet a file of JobSets, for each depth of
its stages, and submit.sh, which hands them in one behind the other (launch/cluster/sweep_jobs.py).
"""

import argparse
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jinja2
import yaml

from iadgpt_jax.buckets import is_bucket
from iadgpt_jax.errors import InputError, Parser, clear_errors, refuse_bucket, refuse_buckets
from iadgpt_jax.train.bounds import BUCKETS, check_configuration
from launch.configuration import read_config
from launch.sweep import SWEEP_FLAGS, add_flags

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Tpu:
    """gke: value of GKE's nodeSelector. slice_name: xpk's name of a slice, {} being cores × chips. cores: per chip.
    devices: JAX devices per chip. A host of a slice with several hosts has four chips."""

    gke: str
    slice_name: str
    cores: int = 1
    devices: int = 1


TPUS = {
    "v4": Tpu("tpu-v4-podslice", "v4-{}", cores=2),
    "v5e": Tpu("tpu-v5-lite-podslice", "v5litepod-{}"),
    "v5p": Tpu("tpu-v5p-slice", "v5p-{}", cores=2),
    "v6e": Tpu("tpu-v6e-slice", "v6e-{}"),
    "tpu7x": Tpu("tpu7x", "tpu7x-{}", cores=2, devices=2),
}
CHIPS_PER_HOST = 4


@dataclass(frozen=True)
class Kind:
    """file: the template. submit: the command that submits the rendered file. flags: those it has besides the common
    ones."""

    file: str
    submit: tuple[str, ...]
    flags: tuple[str, ...]


APPLY = ("kubectl", "apply", "-f")
KINDS = {
    "slurm": Kind("slurm.sbatch", ("sbatch",), ("nodes", "gpus", "time", "partition", "cpus", "environment")),
    "jobset_tpu": Kind("jobset_tpu.yaml", APPLY, ("topology", "slices", "image", "claim", "mount")),
    "jobset_gpu": Kind("jobset_gpu.yaml", APPLY, ("nodes", "gpus", "image", "claim", "mount")),
    "xpk": Kind("xpk.sh", ("bash",), ("topology", "slices", "image", "cluster")),
    "gce": Kind("gce.sh", ("bash",), ("topology", "slices", "tpu", "zone", "environment")),
}
OPTIONS = {  # flag -> (type, default or None where it is required, help)
    "nodes": (int, None, "hosts"),
    "gpus": (int, None, "GPUs of each host"),
    "time": (str, "24:00:00", "Slurm's time limit"),
    "partition": (str, "", "Slurm's partition"),
    "cpus": (int, 32, "CPU cores of each host, for loading data"),
    "environment": (str, ".venv", "virtual environment to activate on the hosts"),
    "topology": (str, None, f"KIND:SHAPE as in launch/compile.py; kinds: {', '.join(TPUS)}"),
    "slices": (int, 1, "TPU slices"),
    "image": (str, None, "container image with the project at --project"),
    "claim": (str, None, "persistent volume claim that all hosts can write, mounted at --mount"),
    "mount": (str, "/shared", "where the claim is mounted"),
    "cluster": (str, None, "xpk's cluster"),
    "tpu": (str, None, "name of the TPU"),
    "zone": (str, None, "its zone"),
}


@clear_errors()
def main(arguments: list[str] | None = None) -> None:
    flags, overrides = parse(sys.argv[1:] if arguments is None else arguments)
    kind = KINDS[flags.kind]
    values = {name: getattr(flags, name) for name in ("name", "project", "restarts", *kind.flags)}
    check_values(values, flags.workdir)
    values |= hardware(values)
    if is_sweep(flags.config):
        from launch.cluster.sweep_jobs import render_sweep

        refuse_bucket(flags.workdir)

        render_sweep(flags, kind, values, overrides)
        return
    check_training(flags.config, overrides, values["devices"], values["processes"])
    words = ["python", "launch/train.py", f"--config={flags.config}", f"--workdir={flags.workdir}", *overrides]
    values |= command_of(flags, words)
    rendered = render(kind.file, values)
    check_rendered(kind.file, rendered)
    print(f"{values['processes']} processes, {values['devices']} devices", file=sys.stderr)
    if flags.dry_run:
        print(rendered, end="")
        return
    out = flags.out or Path(f"{flags.name}{Path(kind.file).suffix}")
    out.write_text(rendered)
    if shutil.which(kind.submit[0]) is None:
        raise InputError(f"wrote {out}, but this machine has no {kind.submit[0]}: submit it where there is one")
    sys.exit(subprocess.run([*kind.submit, str(out)]).returncode)


def hardware(values: dict) -> dict:
    """The number of processes and devices and, for TPUs, the templates' values for a slice."""
    if "nodes" in values:
        return dict(processes=values["nodes"], devices=values["nodes"] * values["gpus"])
    name, _, shape = values["topology"].partition(":")
    if name not in TPUS or not re.fullmatch(r"\d+x\d+(x\d+)?", shape):
        raise InputError(f"--topology={values['topology']}: write KIND:SHAPE like v5p:2x2x4; kinds: {', '.join(TPUS)}")
    tpu, chips = TPUS[name], math.prod(int(side) for side in shape.split("x"))
    if chips > CHIPS_PER_HOST and chips % CHIPS_PER_HOST:
        raise InputError(
            f"--topology={values['topology']} has {chips} chips, which hosts of {CHIPS_PER_HOST} cannot make up"
        )
    hosts = -(-chips // CHIPS_PER_HOST)
    return dict(
        processes=hosts * values["slices"],
        devices=chips * tpu.devices * values["slices"],
        hosts=hosts,
        shape=shape,
        accelerator=tpu.gke,
        chips_per_host=min(chips, CHIPS_PER_HOST),
        tpu_type=tpu.slice_name.format(chips * tpu.cores),
    )


def is_sweep(config: str) -> bool:
    return Path(config.partition(":")[0]).parent.name == "sweeps"


def command_of(flags: argparse.Namespace, words: Sequence[str]) -> dict[str, str]:
    """A command in three forms: shell words, one quoted shell word that first enters the project's folder, and a YAML
    list."""
    line = f"cd {shlex.quote(flags.project)} && "
    if flags.kind == "gce":
        line += f"source {shlex.quote(flags.environment)}/bin/activate && "
    return dict(
        command=shlex.join(words), command_quoted=shlex.quote(line + shlex.join(words)), command_list=json.dumps(words)
    )


def check_values(values: dict, workdir: str) -> None:
    """Refuse names that a scheduler does not accept, numbers out of range, and a workdir outside the volume."""
    for name in ("name", "claim", "cluster", "tpu", "zone", "partition"):
        text = values.get(name)
        if text and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,46}[a-z0-9])?" if name != "partition" else r"[\w-]+", text):
            raise InputError(f"--{name}={text}: at most 48 lower-case letters, digits and dashes, like stage3-7b")
    for name in ("nodes", "gpus", "slices", "cpus", "restarts"):
        if values.get(name, 1) < (0 if name == "restarts" else 1):
            raise InputError(f"--{name}={values[name]}: choose at least {0 if name == 'restarts' else 1}")
    for name in ("image", "mount", "project", "environment"):
        if re.search(r"\s", values.get(name, "")):
            raise InputError(f"--{name}={values[name]}: no spaces")
    if "mount" in values and not is_bucket(workdir) and not Path(workdir).is_relative_to(values["mount"]):
        raise InputError(
            f"--workdir={workdir} would be lost with its pod: put it under --mount={values['mount']}, or in gs://"
        )


def check_training(config: str, overrides: list[str], devices: int, processes: int) -> None:
    """Read the configuration with its overrides; refuse a mesh that does not cover the devices, rows or instances that
    do not divide, and whatever launch/train.py would refuse."""
    settings = read_config(config, overrides)
    mesh = [settings.mesh[axis] for axis in ("data", "fsdp", "tensor")]
    known = math.prod(side for side in mesh if side != -1)
    if devices % known or (-1 not in mesh and known != devices):
        sizes = f"data={mesh[0]}, fsdp={mesh[1]}, tensor={mesh[2]}"
        raise InputError(f"config.mesh {sizes} does not cover {devices} devices: set config.mesh so that it does")
    rows_split = devices // mesh[2] if mesh[2] != -1 else mesh[0] * mesh[1]
    if settings.rows % rows_split or settings.instances % min(processes, rows_split):
        raise InputError(
            f"{settings.rows} rows and {settings.instances} instances a step do not divide by the {rows_split} devices "
            f"that split rows and the {processes} processes: set --config.rows and --config.instances, or more tensor"
        )
    check_configuration(settings)


def render(file: str, values: dict) -> str:
    """The template filled in. Raises jinja2.UndefinedError for a name that has no value."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True,
    )  # fmt: skip
    return templates.get_template(file).render(values)


def check_rendered(file: str, text: str) -> None:
    """Check what needs no scheduler: the shell's syntax, or YAML and the fields a JobSet must have."""
    if not file.endswith(".yaml"):
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
        if done.returncode:
            raise InputError(f"{file} does not render to a valid script ({done.stderr.strip()[:200]}); check the names")
        return
    try:
        job = yaml.safe_load(text)
        template = job["spec"]["replicatedJobs"][0]["template"]["spec"]
        (container,) = template["template"]["spec"]["containers"]
        complete = job["kind"] == "JobSet" and template["parallelism"] == template["completions"] > 0
        complete = complete and all(isinstance(word, str) for word in container["command"])
    except (yaml.YAMLError, KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{file} does not render to a JobSet ({str(error)[:200]}); check the names") from error
    if not complete:
        raise InputError(f"{file} renders to an incomplete JobSet; check the names")


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, buckets=BUCKETS)
    kinds = parser.add_subparsers(required=True, dest="kind", metavar="|".join(KINDS), parser_class=Parser)
    for name, kind in KINDS.items():
        one = kinds.add_parser(name)
        one.add_argument("--name", default="iadgpt", help="of the job")
        one.add_argument(
            "--config", required=True, metavar="configs/stageN.py:SIZE", help="or configs/sweeps/NAME.py:SIZE"
        )
        one.add_argument("--workdir", required=True, metavar="DIR", help="path on the hosts, the same on all of them")
        one.add_argument("--project", default="/iadgpt_jax", metavar="DIR", help="this project's folder on the hosts")
        one.add_argument(
            "--restarts", type=int, default=10, help="at most so many after failures, where the scheduler counts them"
        )
        one.add_argument("--dry_run", action="store_true", help="check and print, submit nothing")
        one.add_argument("--out", type=Path, metavar="FILE", help="where to write the job file; of a sweep, the folder")
        add_flags(one.add_argument_group("of a sweep"))
        for flag in kind.flags:
            type_, default, text = OPTIONS[flag]
            one.add_argument(f"--{flag}", type=type_, default=default, required=default is None, help=text)
    refuse_buckets(arguments, BUCKETS)
    split = arguments.index("--") if "--" in arguments else len(arguments)
    flags = parser.parse_args(arguments[:split])
    given = [name for name, default in SWEEP_FLAGS.items() if getattr(flags, name) != default]
    if given and not is_sweep(flags.config):
        raise InputError(f"--{given[0]} is for a sweep, and {flags.config} is none: configs/sweeps/ has them")
    return flags, arguments[split + 1 :]


if __name__ == "__main__":
    main()

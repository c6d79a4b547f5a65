"""A sweep whose trainings and evaluations are small scripts: what a job computes follows from its words and its start,
it saves as it goes, and takes up where it was. Run as a script, this kills such a sweep again and again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import ml_collections

from iadgpt_jax.errors import InputError
from iadgpt_jax.sweep.collect import results
from iadgpt_jax.sweep.plan import Plan, make_plan
from iadgpt_jax.sweep.run import Outcome, Runner
from iadgpt_jax.sweep.spec import Column, Evaluation, Setting, Stage, Sweep
from launch.configuration import set_value

# Saves after every second step, aside and renamed as Orbax does; its number comes from its start and its words.
TRAIN = """\
import hashlib, os, pathlib, sys, time
words = dict(word.partition("=")[::2] for word in sys.argv[1:])
folder = pathlib.Path(words["--workdir"]) / "checkpoints"
folder.mkdir(exist_ok=True)
(folder.parent / "pid").write_text(str(os.getpid()))
with open(folder.parent / "starts", "a") as file:
    file.write("x\\n")
own = sorted(f"{key}={value}" for key, value in words.items() if key not in ("--workdir", "--config.init_from"))
start = words.get("--config.init_from")
value = pathlib.Path(start, "value").read_text() if start else ""
done = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
first = done[-1] if done else 0
value = (folder / str(first) / "value").read_text() if done else value
if words.get("--config.fault"):
    print("reading"); print("error: no such thing: choose another", file=sys.stderr); sys.exit(2)
crashes = int(words.get("--config.crashes", 0))
for step in range(first + 1, int(words["--config.steps"]) + 1):
    time.sleep(float(os.environ.get("STEP_SECONDS", "0")))
    value = hashlib.sha256(" ".join([value, *own, str(step)]).encode()).hexdigest()
    if len(open(folder.parent / "starts").readlines()) <= crashes and step == 3:
        print("Traceback"); print(f"RuntimeError: step {step} broke"); sys.exit(1)
    if step % 2 == 0 or step == int(words["--config.steps"]):
        aside = folder / f"{step}.unfinished"
        aside.mkdir(exist_ok=True)
        (aside / "value").write_text(value)
        aside.rename(folder / str(step))
"""

EVALUATE = """\
import json, os, pathlib, sys, time
words = dict(word.partition("=")[::2] for word in sys.argv[1:])
time.sleep(float(os.environ.get("STEP_SECONDS", "0")))
value = int(pathlib.Path(words["--checkpoint"], "value").read_text()[:6], 16) / 16**6
value *= float(words.get("--ratio", 1))
out = pathlib.Path(words["--out"])
(out / ".aside").write_text(json.dumps({"shots": {"2": {"image_auroc": {"mean": value, "std": 0.1}}}}))
(out / ".aside").rename(out / "metrics.json")
"""


def write_scripts(root: Path) -> str:
    """The folder of both scripts, as make_plan wants it."""
    (root / "launch").mkdir(parents=True, exist_ok=True)
    (root / "launch" / "train.py").write_text(TRAIN)
    (root / "launch" / "evaluate.py").write_text(EVALUATE)
    return f"{root}/"


def configure(name: str, words) -> ml_collections.ConfigDict:
    """A configuration of the stub: what the plan reads of one, and the stub's own keys."""
    config = ml_collections.ConfigDict(
        dict(steps=8, seed=0, init_from="", checkpoint_every=500, log_every=1, rate=1.0, kind=name, fault="", crashes=0)
    )
    config.optimizer = {"warmup": 4}
    for word in words:
        key, _, value = word.removeprefix("--config.").partition("=")
        set_value(config, key, value)
    return config


def sweep(**changes) -> Sweep:
    """Three settings: two that share their first stage, one evaluated otherwise; and what `changes` adds."""
    settings = {
        "short": Setting("short", ("✗",), (Stage("stage1"),), published={"image_auroc": 88.5}),
        "long": Setting("long", ("✓",), (Stage("stage1"), Stage("stage2")), published={"image_auroc": 92.4}),
        "part": Setting("part", ("✓",), (Stage("stage1"), Stage("stage2")), {"ratio": 0.5}, {"image_auroc": 92.2}),
    }
    return Sweep(
        name="stub", title="Stubs", heads=("S2",), settings=tuple((settings | changes).values()),
        columns=(Column("image_auroc", "image AUROC", "shots.2.image_auroc"),),
        evaluations={"detection": Evaluation("made_up", {"shots": "2"})}, source="A paper", published_on="its data",
    )  # fmt: skip


def plan(root: Path, workdir: Path, of: Sweep | None = None, seeds=(0, 1), **options) -> Plan:
    # The steps stand in every command: the stub does not read configurations.
    words = ("--config.steps=8",)
    return make_plan(
        of or sweep(), workdir, size="tiny", seeds=seeds, configure=configure, root=write_scripts(root),
        overrides=(*words, *options.pop("overrides", ())), **options,
    )  # fmt: skip


def run(made: Plan, workdir: Path, **options) -> Outcome:
    workdir.mkdir(parents=True, exist_ok=True)
    return Runner(made, workdir, interpreter=(sys.executable, "-S", "-E"), **options).run()


def numbers(made: Plan, outcome: Outcome | None = None) -> dict:
    return results(made, outcome.failed if outcome else {})


def broken(crashes: int = 0, fault: str = "") -> Setting:
    changes = {"crashes": crashes} if crashes else {"fault": fault}
    return Setting("broken", ("✗",), (Stage("stage1", changes), Stage("stage2")))


def kill_again_and_again(root: Path, workdir: Path, kills: int, seed: int) -> int:
    """Start the sweep in forks of this process and kill each after a moment, every other time with what it runs; how
    many were alive when they were killed."""
    draw, alive = random.Random(seed), 0
    while alive < kills:
        child = os.fork()
        if child == 0:
            run(plan(root, workdir, sweep(broken=broken(crashes=99))), workdir, parallel=draw.choice((1, 2)))
            os._exit(0)
        time.sleep(draw.uniform(0.01, 0.2))
        with_jobs = draw.random() < 0.5
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break  # it had finished
        alive += 1
        for file in workdir.glob("stages/*/pid") if with_jobs else ():
            try:
                pid = int(file.read_text() or 0)
                if pid and f"--workdir={file.parent}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # it has ended
    return alive


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise InputError("stub.py ROOT WORKDIR KILLS SEED")
    killed = kill_again_and_again(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    print(json.dumps({"killed": killed}))

"""Kill a tiny training again and again, at random moments, and show that it ends where an undisturbed one ends.

    python tools/chaos.py --out=DIR [--kills=100] [--pair_kills=10] [--seed=0] [--workdir=DIR]

--kills: of trainings in one process, forked so that a start costs seconds; --pair_kills: of trainings in two processes,
started by launch/local.py. Nine in ten are kill -9, the others SIGTERM. A moment is drawn while the training starts,
after a step has begun, or after a save has begun; of two processes one dies, or both and their launcher. What was
killed is started again by the same command until it is done, and compared: every parameter, moment and counter of the
last step, bit for bit, and every line of the log but its times. Then the next training begins, until there were so
many kills.

--out gets results.json, kills.jsonl with a line for every kill, what the trainings said, and their workdirs, unless
--workdir names another place for these. Where this command is stopped, it goes on when it is given again. It prints the
table of docs/reliability.md. Exit status 1: a training ended otherwise than an undisturbed one, or did not go on.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import logging
from etils import epath

from iadgpt_jax.alone import alone_in
from iadgpt_jax.checkpoint.files import STEPS
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.journal import Journal
from iadgpt_jax.train.saving import UNFINISHED
from iadgpt_jax.whole_file import write_json
from tools.reliability.chaos_table import results, table
from tools.reliability.trainings import LOOK, Alone, Pair, Training, differences, wait_for

MOMENTS = {"start": 2, "step": 2, "save": 2, "writing": 4}  # what a kill waits for: how often
DELAYS = (0.0, 0.02, 0.2, 1.0)  # seconds it then waits at most
UNDISTURBED, AGAIN = "undisturbed", "again"


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    flags = parse(arguments)
    logging.set_verbosity(logging.ERROR)  # Orbax warns of things that are intended here
    workdirs = flags.workdir or str(flags.out.absolute())
    with alone_in(flags.out, f"killing trainings in {flags.out}", "choose another --out"):
        with Journal(flags.out / "kills.jsonl") as journal:
            if flags.kills:
                with Alone(flags.steps, flags.out.absolute(), workdirs).lives() as training:
                    disturb(training, journal, flags.kills, flags.seed)
            if flags.pair_kills:
                with Pair(flags.steps, flags.out.absolute(), workdirs).lives() as training:
                    disturb(training, journal, flags.pair_kills, flags.seed)
            found = results([entry for _, entry in journal.entries()])
        write_json(flags.out / "results.json", {"seed": flags.seed, "steps": flags.steps, **found})
    print(table(found))
    return 0 if found["equal"] else 1


def disturb(training: Training, journal: Journal, kills: int, seed: int) -> None:
    """Trainings that are killed so many times in all, each to its end."""

    def entries(what: str) -> list[dict]:
        return [one for _, one in journal.entries() if (one["processes"], one["what"]) == (training.processes, what)]

    if not entries("undisturbed"):
        found = {"seconds": undisturbed(training), "steps": training.steps}
        journal.append({"what": "undisturbed", "processes": training.processes, **found})
    first = entries("undisturbed")[0]
    seconds, steps = first["seconds"], first.get("steps", training.steps)
    if steps != training.steps:
        raise InputError(f"{journal.path} holds trainings of {steps} steps: give --steps={steps}, or another --out")
    done, run = len(entries("kill")), len(entries("end"))
    while done < kills or epath.Path(training.workdir(run)).exists():
        step = training.step(run)
        training.start(run)
        number = signal.SIGTERM if done % 10 == 9 else signal.SIGKILL
        rng = Random(f"{seed}/{training.processes}/{run}/{done}")
        struck = strike(training, run, rng, number, seconds) if done < kills else ""
        status = training.status()
        entry = {"processes": training.processes, "run": run, "status": status}
        if status == 0:
            differs = differences(training.workdir(run), training.workdir(UNDISTURBED))
            damaged = training.said.read_text(errors="replace").count(" is damaged")
            journal.append(entry | {"what": "end", "differs": differs, "damaged": damaged})
            say(f"training {run} ended: {', '.join(differs) or 'like an undisturbed one'}")
            epath.Path(training.workdir(run)).rmtree()
            training.said.unlink()
            run += 1
        elif struck and status in (-number, 128 + number, 128 + signal.SIGABRT):
            journal.append(entry | {"what": "kill", "signal": number.name, "whom": struck, **left(training, run, step)})
            done += 1
            say(f"kill {done} of {kills} by {number.name}, {struck}")
        else:
            raise InputError(f"a training ended with status {status} where none was expected: see {training.said}")


def undisturbed(training: Training) -> float:
    """Train without a kill; the seconds that a start takes until the first step."""
    workdir = epath.Path(training.workdir(UNDISTURBED))
    if workdir.exists():
        workdir.rmtree()
    say(f"an undisturbed training, processes: {training.processes}")
    training.start(UNDISTURBED)
    if training.status():
        raise InputError(f"the undisturbed training fails: see {training.said}")
    before = time.monotonic()
    training.start(AGAIN)  # with what the first has compiled
    wait_for(training, "step", 1)
    seconds = time.monotonic() - before
    training.strike(signal.SIGKILL, Random(0))
    training.status()
    epath.Path(training.workdir(AGAIN)).rmtree()
    return seconds


def strike(training: Training, run: int, rng: Random, number: int, seconds: float) -> str:
    """Send a signal at a random moment of a life; says whom it met, "" if the life had ended."""
    (moment,) = rng.choices(tuple(MOMENTS), tuple(MOMENTS.values()))
    times, delay = rng.randint(1, 3), rng.choice(DELAYS) * rng.random()
    if moment == "start":
        time.sleep(seconds * rng.random())
    elif wait_for(training, "save" if moment == "writing" else moment, times):
        while moment == "writing" and training.running() and not unfinished(training, run):
            time.sleep(LOOK)  # the state is still being copied
        time.sleep(delay)
    return training.strike(number, rng) if training.running() else ""


def left(training: Training, run: int, step: int) -> dict:
    """Where a life ended that went on from `step`, and the steps that the next one has to compute again."""
    begun = training.noted("step")
    moment = "during a save" if unfinished(training, run) else "between saves" if begun else "while starting"
    return {"moment": moment, "lost": step + begun - training.step(run) if begun else 0}


def unfinished(training: Training, run: int) -> bool:
    """Whether a step is being written, or was when its writer died."""
    return any((epath.Path(training.workdir(run)) / STEPS).glob(UNFINISHED))


def parse(arguments: Sequence[str] | None):
    parser = Parser(description=__doc__.splitlines()[0], epilog=__doc__.partition("\n\n")[2])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the results; what lies there is gone on with"
    )
    parser.add_argument("--kills", type=int, default=100, help="of trainings in one process")
    parser.add_argument("--pair_kills", type=int, default=10, help="of trainings in two processes")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--steps", type=int, default=60, help="of a training")
    parser.add_argument("--workdir", help="where trainings save; by default in --out")
    flags = parser.parse_args(arguments)
    if min(flags.kills, flags.pair_kills) < 0 or flags.steps < 1:
        raise InputError("--kills, --pair_kills and --steps are numbers from 0, 0 and 1 on")
    return flags


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Train one stage: configuration, mesh, data, model, loop.

    iadgpt train --config=configs/stage2.py:tiny --workdir=DIR [--config.KEY=VALUE …]

If the workdir holds a checkpoint, training goes on from it. Ctrl-C and SIGTERM save before they stop. On a cluster
every host runs this same command, with a workdir that all of them share (docs/clusters.md); launch/local.py starts
several processes on one machine.
"""

# ruff: noqa: E402 (a wrong flag or key ends before the imports that take seconds)
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from absl import app, flags, logging
from ml_collections import config_flags

from iadgpt_jax.command_line import QUIET, before_loading, parse

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/stageN.py:SIZE", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "folder for checkpoints and logs; a checkpoint there is continued")
if __name__ == "__main__":
    before_loading(__doc__, ("workdir", "quiet"), ROOT, required=("config", "workdir"))

import contextlib
import json
import time
from collections.abc import Iterator

import jax
import ml_collections

from iadgpt_jax import voice
from iadgpt_jax.bucket_files import check_writable
from iadgpt_jax.buckets import is_bucket
from iadgpt_jax.checkpoint.files import finished_steps
from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.checkpoint.lock import Lock
from iadgpt_jax.checkpoint.whole import set_damaged_aside
from iadgpt_jax.checkpoint.workdir import Checkpoints, read_model_files, write_model_files
from iadgpt_jax.data.ancestry import INFO_KEY, training_entry, with_entries
from iadgpt_jax.data.detection_prompt import named_prompt, prompt_of
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.loader import open_batches, put
from iadgpt_jax.data.native_resolution import pixel_bounds_of
from iadgpt_jax.data.run_sources import only, open_sources, without_evaluation_data
from iadgpt_jax.data.sources import notes_of
from iadgpt_jax.data.sources.pixel_hashes import hashed_aloud, unwatched
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.distributed import (
    StopSignals,
    check_agreement,
    code_version,
    compiled_together,
    decided,
    is_main_process,
    joined,
)
from iadgpt_jax.errors import InputError, clear_errors
from iadgpt_jax.models.registry import model_of, preset
from iadgpt_jax.sharding import ShardingRules, make_mesh, row_share
from iadgpt_jax.train.bounds import BUCKETS, check_configuration
from iadgpt_jax.train.build import Training, build_training
from iadgpt_jax.train.changes import changes, check_changes, check_data, flat, shown
from iadgpt_jax.train.guard import Guard
from iadgpt_jax.train.log import TrainLog, describe
from iadgpt_jax.train.model_options import continued, started, with_options
from iadgpt_jax.train.optimizer import patterns_without_parameters
from iadgpt_jax.train.profile import Profile
from iadgpt_jax.train.resume import restore_state
from iadgpt_jax.train.saving import Saver, SaveTimes
from iadgpt_jax.train.speed import Speed
from iadgpt_jax.train.sums import ProcessSums
from iadgpt_jax.train.watch import Recompilations
from iadgpt_jax.train.watchdog import Watchdog


def train(config: ml_collections.ConfigDict, workdir: str, source=None) -> None:
    """Train the stage that `config` describes, or go on with it. `source`: an open source instead of those it names.

    Raises:
      InputError: wrong input, in whatever form; too many steps whose numbers are not finite; a full disk.
    """
    check_agreement({**flat(json_config(config)), "code": code_version(Path(__file__))})
    check_configuration(config)
    make_workdir(workdir)
    with in_workdir(workdir) as lock:
        run(config, workdir, lock, source)


def run(config: ml_collections.ConfigDict, workdir: str, lock: Lock, source) -> None:
    """`train`, in a workdir that no other run works in."""
    # ---- What the workdir holds, and where the data comes from, before anything expensive ----
    set_damaged_aside(workdir)  # so that the newest step is a whole one
    newest = decided(lambda: finished_steps(workdir)[-1:])
    check_agreement({"step in --workdir": [step for step in newest if step in finished_steps(workdir)]})
    going_on, params, stored = bool(newest), None, {}
    if going_on:
        model_config, tokenizer, stored = read_model_files(workdir)
        if not config.resume_anyway:
            check_changes(workdir, newest[0], stored.get("config", {}), json_config(config))
    sources = [only(source, config)] if source else open_sources(config)
    notes = [note for one in sources for note in notes_of(one.source)]
    hashing = hashed_aloud if is_main_process() else unwatched
    sources = without_evaluation_data(sources, config.leakage, warn, hashing)
    mesh = make_mesh(**config.mesh)
    rules = ShardingRules()

    # ---- Model: from the workdir if it has one, else from config.init_from, else random ----
    if going_on:
        model_config = continued(model_config, config.model, workdir)
    elif config.init_from:
        loaded = load_model(config.init_from, mesh, rules, dtype="float32")
        tokenizer, params, stored = loaded.tokenizer, loaded.params, loaded.info
        model_config = started(loaded.config, config.model, config.init_from)
        del loaded
    else:
        model_config = with_options(preset(config.size, config.architecture), config.model)
        tokenizer = tiny_tokenizer()
    chosen = config.detection_prompt and (config.resume_anyway or not going_on)
    prompt = named_prompt(config.detection_prompt) if chosen else prompt_of(stored)
    training = build_training(config, model_config, mesh, rules, params)
    if without := patterns_without_parameters(config, training.state.trained | training.state.frozen):
        warn(f"{', '.join(without)}: no parameter of the model has such a path, so it changes nothing")

    # ---- Data: each process loads the rows that its devices hold ----
    share, shares = row_share(training.rows, config.rows)
    if config.instances % shares:
        raise InputError(f"{config.instances} instances do not divide by {shares} processes: set config.instances")
    encoder = Encoder(model_config, tokenizer, prompt)
    batches = open_batches(config, sources, encoder, process=share, processes=shares, say=warn)
    for line in [*notes, *opening(config, sources, training, mesh)]:
        say(line)
    if batches.sample:
        say(f"rows as sampled: {describe(batches.sample)}")
    if batches.instances < config.instances:
        say(
            f"rows hold {batches.instances} instances a step, so no more are drawn; config.instances={config.instances}"
        )

    # ---- State, sharded over the mesh from the start ----
    checkpoints = Checkpoints(workdir, config.keep, checked=True)
    first = 0
    trained_on = with_entries(
        stored, [training_entry(config.stage, one.source, one.categories, hashing) for one in sources]
    )
    info = {"stage": config.stage, "image_side": config.image_side, "detection_prompt": prompt.to_dict(),
            "image_pixels": list(pixel_bounds_of(stored)), "config": json_config(config),
            INFO_KEY: trained_on, **model_of(model_config).record(config)}  # fmt: skip
    if going_on:
        if not config.resume_anyway:
            check_data(workdir, stored.get(INFO_KEY, ()), trained_on)
        info = stored | info
        if changed := changes(stored.get("config", {}), info["config"]):
            warn(f"from step {newest[0]} on with another configuration: {shown(changed)}")
            info["changed"] = [*stored.get("changed", ()), {"step": newest[0], "config": changed}]
        if is_main_process() and info != stored:
            write_model_files(workdir, model_config, tokenizer, info)
        state, first = restore_state(checkpoints, training.state, config.frozen, newest[0])
        say(f"going on from step {first} of {workdir}")
    else:
        if is_main_process():
            write_model_files(workdir, model_config, tokenizer, info)
        state = training.fresh(params)
    del params  # now only the state keeps them in memory

    # ---- Loop ----
    speed = Speed.of(model_config, training.shape, frozen=config.frozen, maps=training.loss.maps)
    step_function = training.step
    compiled, profile = Recompilations(step_function.__name__), Profile(workdir, **config.profile)
    log = TrainLog(
        workdir, f"stage {config.stage}", first, config.steps, config.log_every, speed, compiled,
        tasks=batches.tasks, mesh=mesh, shares=shares, is_main_process=is_main_process(),
    )  # fmt: skip
    several = ProcessSums(mesh) if jax.process_count() > 1 else None
    saver, times = Saver(checkpoints, workdir, say), SaveTimes(config.checkpoint_minutes, several)
    guard = Guard(workdir, first, config.max_skipped, batches.records, say, is_main_process())
    stop = StopSignals()
    watchdog = Watchdog(config.watchdog_minutes, workdir, jax.process_index(), jax.process_count())
    if first >= config.steps:
        say(f"{workdir} is finished: it has all {config.steps} steps; a larger --config.steps trains on")
    stream = batches.iterate(first, config.steps, threads=config.loader_threads, processes=config.loader_processes)
    try:
        watchdog.start(first)
        for step in range(first, config.steps):
            with profile.step(step + 1):
                watchdog.doing("waiting for a batch of images")
                before = time.monotonic()
                batch = next(stream)
                rows = put(batch.rows, training.rows)
                waited = time.monotonic() - before
                watchdog.doing("compiling" if step == first else "waiting for devices, and for other processes")
                if step == first:
                    say("compiling the step")
                    before = time.monotonic()
                    step_function = compiled_together(step_function, state, rows)
                state, metrics = step_function(state, rows)
                if step == first:  # alone, a process compiles at its first call
                    say(f"compiled in {time.monotonic() - before:.0f} s")
            profile.after(step + 1, metrics)
            guard.step(step + 1, metrics)
            watchdog.done(step + 1)
            log.step(step + 1, metrics, batch.tally, waited)
            last, stopping = step + 1 == config.steps, stop.asked(step + 1)
            late = times.due(metrics["loss"])
            if last or stopping:
                guard.finish()
            if last or stopping or late or (step + 1) % config.checkpoint_every == 0:
                log.saving()
                if is_main_process():
                    lock.check()
                with watchdog.slowly("saving"):
                    saver.save(state, step + 1)
                    if last or stopping:
                        saver.finish()
                times.saved()
            if stopping and not last:
                say(f"stopped after step {step + 1}; the same command goes on from there")
                raise SystemExit(stop.exit_status)
    finally:
        with watchdog.slowly("ending"):
            stream.close()
            profile.close()
            compiled.close()
            guard.close()
            log.close()
            saver.close()
            stop.restore()
        watchdog.close()


@contextlib.contextmanager
def in_workdir(workdir: str) -> Iterator[Lock]:
    """The lock of a workdir, which the main process holds, and checks, for all."""
    lock = Lock(workdir, say)
    decided(lock.take)
    try:
        yield lock
    finally:
        if is_main_process():
            lock.release()


def make_workdir(workdir: str) -> None:
    if is_bucket(workdir):
        decided(lambda: check_writable(workdir))
        return
    try:
        Path(workdir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--workdir={workdir} cannot be a folder ({error.strerror}): choose another path") from error


def opening(config, sources, training: Training, mesh) -> list[str]:
    """What a run is about to do: its data, its model, its steps and its devices."""
    records = [
        record for one in sources for record in one.source.records
        if not one.categories or record.category in one.categories
    ]  # fmt: skip
    categories = len({record.category for record in records})
    names = ", ".join(one.source.name for one in sources)
    parts = training.state.trained, training.state.frozen
    trained, frozen = (sum(leaf.size for leaf in jax.tree.leaves(part)) for part in parts)
    held = f", {frozen:,} of them frozen" if frozen else ""
    devices = f"{mesh.size} × {mesh.devices.flat[0].device_kind}"
    return [
        f"stage {config.stage}: {len(records):,} images of {categories:,} categories from {names}",
        f"{config.size} model of {trained + frozen:,} parameters{held}; {config.steps:,} steps of {config.rows} rows "
        f"on {devices}",
    ]


def closing(config, workdir: str) -> list[str]:
    """Where a finished run is saved, and what to do with it."""
    follows = {1: "configs/stage2.py", 2: "configs/stage3.py"}.get(config.stage)
    lines = [f"step {config.steps} is saved in {workdir}; beside it: metrics.jsonl, and what TensorBoard reads"]
    if follows:
        lines.append(f"next: iadgpt train --config={follows}:{config.size} --workdir=DIR --config.init_from={workdir}")
    else:
        lines.append(f"next: iadgpt predict --checkpoint={workdir} --reference=GOOD_FOLDER --query=PARTS_FOLDER")
    return lines


def json_config(config: ml_collections.ConfigDict) -> dict:
    return json.loads(config.to_json_best_effort())


def say(line: str) -> None:
    if is_main_process():
        voice.say(line)


def warn(line: str) -> None:
    if is_main_process():
        voice.warn(line)


def quiet() -> None:
    """Keep the messages of libraries out of the log."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow only writes logs here; with oneDNN it would print a notice.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    logging.set_verbosity(logging.FATAL)  # what Orbax logs as an error it raises as well


@clear_errors()
def parse_flags(argv: list[str]) -> list[str]:
    """absl's parsing; a mistake in the command line or in the configuration's name is one line."""
    usage = "--config=configs/stageN.py:SIZE --workdir=DIR [--config.KEY=VALUE …]"
    return parse(argv, _CONFIG, usage, buckets=BUCKETS)


@clear_errors()
def main(argv) -> None:
    quiet()
    if len(argv) > 1:
        raise InputError(f"unknown arguments {' '.join(argv[1:])}: write --config.KEY=VALUE")
    voice.set_quiet(QUIET.value)
    with joined():
        train(_CONFIG.value, _WORKDIR.value)
        for line in closing(_CONFIG.value, _WORKDIR.value):
            say(line)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=parse_flags)

"""Train one stage: configuration, mesh, data, model, loop.

    python launch/train.py --config=configs/stage2.py:tiny --workdir=DIR [--config.KEY=VALUE …]

A workdir that already holds a checkpoint goes on from it. Ctrl-C and SIGTERM save before they stop. On a cluster every
host runs this same command, with a workdir that all of them see (docs/clusters.md); launch/local.py does it on one.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import json
import math
import time

import jax
import jax.numpy as jnp
import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.loader import Batches, put
from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.pack import RowShape
from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.distributed import SilentLog, StopSignals, compiled_together, joined, speaks
from iadgpt_jax.errors import InputError, clear_errors
from iadgpt_jax.infer.load import load_any
from iadgpt_jax.models.attention import Lanes, choose
from iadgpt_jax.models.config import preset
from iadgpt_jax.models.iadgpt import IADGPT
from iadgpt_jax.models.initialize import init_params, logical_axes
from iadgpt_jax.sharding import ShardingRules, make_mesh, replicated, row_share, rows_sharding
from iadgpt_jax.train.checkpoint import Checkpoints, finished_steps, read_model_files, write_model_files
from iadgpt_jax.train.log import TrainLog
from iadgpt_jax.train.losses import LossWeights
from iadgpt_jax.train.optimizer import make_optimizer, schedule
from iadgpt_jax.train.profile import Profile
from iadgpt_jax.train.speed import Speed
from iadgpt_jax.train.state import create, state_shardings
from iadgpt_jax.train.step import make_train_step
from iadgpt_jax.train.watch import Recompilations


def train(config: ml_collections.ConfigDict, workdir: str, source=None) -> None:
    """Run (or go on with) the stage `config` describes. `source` overrides config.source with one already open."""
    # ---- What is asked for, checked before anything expensive ----
    check(config)
    make_workdir(workdir)
    mesh = make_mesh(**config.mesh)
    rules = ShardingRules()

    # ---- Model: what the workdir holds already, else what to start from, else random ----
    going_on, params = bool(finished_steps(workdir)), None
    if going_on:
        model_config, tokenizer, _ = read_model_files(workdir)
    elif config.init_from:
        loaded = load_any(config.init_from, mesh, rules, dtype="float32")
        model_config, tokenizer, params = loaded.config, loaded.tokenizer, loaded.params
        del loaded
    else:
        model_config, tokenizer = preset(config.size), tiny_tokenizer()
    dtype = jnp.dtype(config.dtype)
    model = IADGPT(model_config, dtype, config.remat, choose(config.attention, mesh, rules, dtype))

    # ---- Data: each process brings the rows its devices hold ----
    batch_sharding = rows_sharding(mesh, rules)
    share, shares = row_share(batch_sharding, config.rows)
    if config.instances % shares:
        raise InputError(f"{config.instances} instances do not divide by {shares} processes: set config.instances")
    source = source or open_source(
        config.source, side=config.image_side, seed=config.seed, procedural_categories=config.source_categories
    )
    shape = row_shape(config)
    batches = Batches(
        build(source, config.mixture, [name for name in config.categories.split(",") if name]),
        Encoder(model_config, tokenizer),
        shape,
        rows=config.rows,
        instances=config.instances,
        seed=config.seed,
        process=share,
        processes=shares,
        group=config.pack.group,
        top_up=config.pack.top_up,
    )

    # ---- State, on the mesh from its first moment ----
    rate = schedule(config.optimizer.rate, config.steps, config.optimizer.warmup, config.optimizer.floor)
    optimizer = make_optimizer(
        rate, **{k: config.optimizer[k] for k in ("kind", "b1", "b2", "weight_decay", "clip", "moments")}
    )

    def fresh(params):
        params = init_params(model_config, jax.random.key(config.seed)) if params is None else params
        return create(params, config.frozen, optimizer)

    shapes = jax.eval_shape(fresh, params)
    shardings = state_shardings(mesh, rules, logical_axes(model_config), shapes)
    checkpoints = Checkpoints(workdir, config.keep)
    first = 0
    if going_on:
        abstract = jax.tree.map(lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), shapes, shardings)
        state, first = checkpoints.restore(abstract, config.frozen)
        say(f"going on from step {first} of {workdir}")
    else:
        info = {"stage": config.stage, "image_side": config.image_side, "map_space": config.map_space,
                "config": json_config(config)}  # fmt: skip
        if speaks():
            write_model_files(workdir, model_config, tokenizer, info)
        state = jax.jit(fresh, out_shardings=shardings, donate_argnums=0)(params)
    del params  # so that only the state keeps them in memory

    # ---- Loop ----
    step_function = make_train_step(model, optimizer, shape.lanes, LossWeights(**config.loss), config.map_space)
    step_function = jax.jit(
        step_function,
        in_shardings=(shardings, batch_sharding),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )
    maps = config.map_space != "none"
    speed = Speed.of(model_config, shape, shares, frozen=config.frozen, maps=maps)
    compiled, profile = Recompilations(step_function.__name__), Profile(workdir, **config.profile)
    log = SilentLog()
    if speaks():
        log = TrainLog(workdir, f"stage {config.stage}", first, config.steps, config.log_every, speed, compiled)
    stop = StopSignals()
    stream = batches.iterate(first, config.steps, threads=config.loader_threads)
    try:
        for step in range(first, config.steps):
            with profile.step(step + 1):
                before = time.monotonic()
                batch = next(stream)
                rows = put(batch.rows, batch_sharding)
                waited = time.monotonic() - before
                if step == first:
                    step_function = compiled_together(step_function, state, rows)
                state, metrics = step_function(state, rows)
            profile.after(step + 1, metrics)
            log.step(step + 1, metrics, batch.tally, rate_at(config, step), waited)
            last, stopping = step + 1 == config.steps, stop.asked(step + 1)
            if last or stopping or (step + 1) % config.checkpoint_every == 0:
                log.flush()  # what a checkpoint continues must be in the log, should it be killed now
                checkpoints.save(state, step + 1)
            if stopping and not last:
                checkpoints.close()
                say(f"stopped after step {step + 1}; the same command goes on from there")
                raise SystemExit(stop.exit_status)
    finally:
        profile.close()
        compiled.close()
        log.close()
        checkpoints.close()
        stop.restore()


def rate_at(config: ml_collections.ConfigDict, step: int) -> float:
    """The learning rate of a step, on the host."""
    o = config.optimizer
    warmup = min(o.warmup, max(config.steps - 1, 0))
    if step < warmup:
        return o.rate * (1 + step * (warmup - 1) / warmup) / warmup
    part = (step - warmup) / max(config.steps - warmup, 1)
    return o.rate * (o.floor + (1 - o.floor) * (1 + math.cos(math.pi * part)) / 2)


def row_shape(config: ml_collections.ConfigDict) -> RowShape:
    r = config.row
    lanes = Lanes(r.prefix, tuple(tuple(group) for group in r.lanes)) if r.lanes else None
    return RowShape(
        r.slots, r.images, r.patches, r.maps, r.keyword_rows, r.targets, r.mask_side, lanes, r.verdict_weight
    )


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse what cannot run, in one line that says what to do."""
    name = f"stage{config.stage}.py"
    if config.size != "tiny" and not config.init_from:
        raise InputError(
            f"{name}:{config.size} starts from published weights: download Qwen2.5-VL, run tools/convert_hf.py import "
            f"--hf=DIR --out=DIR and pass --config.init_from=DIR; or try {name}:tiny, "
            "which needs neither weights nor data"
        )
    if not config.source:
        raise InputError(
            f"{name}:{config.size} needs images: run tools/prepare_data.py and pass --config.source=DIR; "
            f"or try {name}:tiny"
        )
    if config.map_space not in ("logit", "probability", "none"):
        raise InputError(f"config.map_space is {config.map_space!r}: choose logit, probability or none")
    if config.profile.steps and not 1 <= config.profile.first <= config.steps:
        raise InputError(f"config.profile.first is {config.profile.first}: choose one of the steps 1 to {config.steps}")
    if config.steps < 1:
        raise InputError(f"config.steps is {config.steps}: there is nothing to train")


def make_workdir(workdir: str) -> None:
    try:
        Path(workdir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--workdir={workdir} cannot be a folder ({error.strerror}): choose another path") from error


def json_config(config: ml_collections.ConfigDict) -> dict:
    return json.loads(config.to_json_best_effort())


def say(line: str) -> None:
    if speaks():
        print(line, file=sys.stderr)


def quiet() -> None:
    """Keep the libraries' own chatter out of the log: training says what matters itself."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # TensorFlow only writes logs here, and announces this one
    logging.set_verbosity(logging.ERROR)


_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/stageN.py:SIZE", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "where checkpoints and logs go; a checkpoint there is continued")


@clear_errors()
def parse_flags(argv: list[str]) -> list[str]:
    """absl's parsing, with faults of the command line and of the configuration's name as one line each."""
    try:
        rest = flags.FLAGS(argv)
        _CONFIG.value.stage  # noqa: B018 a configuration that cannot be read says so at its first use
        return rest
    except AttributeError as error:  # holds the KeyError whose message names the key, perhaps with a like one
        key = error.args[0].args[0] if error.args and isinstance(error.args[0], KeyError) else error
        raise InputError(f"no such configuration key: {key} (configs/common.py has them all)") from error
    except OSError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"no configuration to read: {reason}; write --config=configs/stageN.py:SIZE") from error
    except flags.Error as error:
        usage = "--config=configs/stageN.py:SIZE --workdir=DIR [--config.KEY=VALUE …]"
        raise InputError(f"{error}; write {usage}") from error


@clear_errors()
def main(argv) -> None:
    quiet()
    if len(argv) > 1:
        raise InputError(f"unknown arguments {' '.join(argv[1:])}: write --config.KEY=VALUE")
    with joined():
        train(_CONFIG.value, _WORKDIR.value)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=parse_flags)

"""Compute one step of a run again, and say what of it is not finite: which parts of the loss, whose gradients, which
records.

    python tools/replay_step.py --workdir=DIR --step=N [--debug_nans]

N counts from 1, as in the log. Training goes on in memory from the newest checkpoint before N, or from where the run
began, with the configuration in the workdir's model.json, on the devices of this machine; nothing is written.
--debug_nans ends with the traceback of the operation that made the first NaN (JAX computes it once more, op by op).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # found from a clone that is not installed, too
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import ml_collections
import numpy as np

from iadgpt_jax.checkpoint.files import finished_steps
from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.checkpoint.workdir import Checkpoints, read_model_files
from iadgpt_jax.data.detection_prompt import prompt_of
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.loader import Batches, open_batches, put
from iadgpt_jax.data.run_sources import open_sources, without_evaluation_data
from iadgpt_jax.errors import InputError, Parser, clear_errors
from iadgpt_jax.sharding import ShardingRules, make_mesh
from iadgpt_jax.train.build import Training, build_training
from iadgpt_jax.train.optimizer import join_params
from iadgpt_jax.train.resume import restore_state
from iadgpt_jax.train.state import TrainState


@clear_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True, help="of the run")
    parser.add_argument("--step", type=int, required=True, help="the step to compute again, from 1")
    parser.add_argument("--debug_nans", action="store_true", help="end at the operation that makes the first NaN")
    flags = parser.parse_args(arguments)
    model_config, tokenizer, info = read_model_files(flags.workdir)
    config = config_of(info, flags.workdir)
    if not 1 <= flags.step <= config.steps:
        raise InputError(f"--step={flags.step}: the run in {flags.workdir} has the steps 1 to {config.steps}")
    sources = without_evaluation_data(open_sources(config), config.leakage, say)
    mesh = make_mesh(-1, 1, 1) if config.rows % len(jax.devices()) == 0 else make_mesh(-1, devices=jax.devices()[:1])
    training = build_training(config, model_config, mesh, ShardingRules())
    batches = open_batches(config, sources, Encoder(model_config, tokenizer, prompt_of(info)), say=say)
    jax.config.update("jax_debug_nans", flags.debug_nans)
    state, first = state_before(training, config, flags.workdir, flags.step, mesh)
    for step in range(first, flags.step - 1):
        state, _ = training.step(state, put(batches[step].rows, training.rows))
        say(f"step {step + 1} of those before")
    told(training, batches, state, flags.step)


def config_of(info: dict, workdir: Path) -> ml_collections.ConfigDict:
    """The configuration that model.json has."""
    stored = info.get("config")
    if not stored:
        raise InputError(f"{workdir} was not written by launch/train.py: its model.json has no configuration")
    config = import_module(f"configs.stage{stored['stage']}").get_config(stored["size"])
    with config.unlocked(), config.ignore_type():
        config.update(_with_tuples(stored))
    return config


def state_before(
    training: Training, config: ml_collections.ConfigDict, workdir: Path, step: int, mesh: jax.sharding.Mesh
) -> tuple[TrainState, int]:
    """(state, steps done) of the newest checkpoint before a step, or of the start of the run."""
    if before := [done for done in finished_steps(workdir) if done < step]:
        say(f"from the checkpoint of step {before[-1]}")
        with Checkpoints(workdir, read_only=True) as checkpoints:
            return restore_state(checkpoints, training.state, config.frozen, before[-1])
    say(f"from the start ({config.init_from or 'random weights'})")
    params = load_model(config.init_from, mesh, dtype="float32").params if config.init_from else None
    return training.fresh(params), 0


def told(training: Training, batches: Batches, state: TrainState, step: int) -> None:
    """Print the numbers of a step, where they come from and the records."""
    rows = put(batches[step - 1].rows, training.rows)
    gradients, numbers = jax.jit(lambda state, rows: _gradients(training, state, rows))(state, rows)
    _, after = training.step(state, rows)
    for name, value in {**jax.device_get(after), **jax.device_get(numbers)}.items():
        print(f"{name}: {float(value):.6g}")
    bad = [path for path, leaf in gradients.items() if not np.isfinite(leaf).all()]
    print(f"gradients that are not finite: {len(bad)} of {len(gradients)}" + "".join(f"\n  {path}" for path in bad))
    print("records:" + "".join(f"\n  {name}" for name in batches.records(step - 1)))


def _gradients(training: Training, state: TrainState, rows) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    def loss(trained):
        return training.loss(join_params(trained, state.frozen), rows)

    return jax.grad(loss, has_aux=True)(state.trained)


def _with_tuples(value: Any) -> Any:
    """JSON's lists are tuples in a configuration."""
    if isinstance(value, dict):
        return {key: _with_tuples(one) for key, one in value.items()}
    return tuple(_with_tuples(one) for one in value) if isinstance(value, list) else value


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""Checkpoints: parameters, optimizer state and one data integer, per step, beside the model's card and tokenizer.

    workdir/model.json            ModelConfig and how it was trained (what evaluation must repeat)
    workdir/tokenizer/            tokenizer.json, tokenizer_config.json, chat template
    workdir/checkpoints/<step>/   Orbax: params, training (step and optimizer), data (the integer)

A step's directory appears only when it is complete (Orbax writes aside and renames), so a kill at any moment leaves
the last complete one.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.initialize import init_params, logical_axes
from iadgpt_jax.models.qwen2_5_vl.config import ModelConfig
from iadgpt_jax.sharding import ShardingRules, tree_shardings
from iadgpt_jax.train.optimizer import split_params
from iadgpt_jax.train.state import TrainState

MODEL_FILE, TOKENIZER, STEPS = "model.json", "tokenizer", "checkpoints"


@dataclass(frozen=True)
class LoadedModel:
    """A model as it lies in memory, wherever it came from.

    params: tree of jax arrays, float32 from a workdir, and from a Hugging Face directory in the dtype its tensors share
    unless another was asked for (only the fusion gates are float32 always). info: what model.json or config.json says
    of the training. step: of the weights; 0 for what was imported or lies in a Hugging Face directory.
    """

    params: dict
    config: ModelConfig
    tokenizer: Tokenizer
    info: dict
    step: int


def write_model_files(workdir: str | Path, config: ModelConfig, tokenizer: Tokenizer, info: dict) -> None:
    """model.json and the tokenizer, each written aside and renamed."""
    workdir = Path(workdir)
    tokenizer.save(workdir / TOKENIZER)
    aside = workdir / f".{MODEL_FILE}.{os.getpid()}"
    aside.write_text(json.dumps({"model": config.to_dict(), "info": info}, indent=2, sort_keys=True))
    aside.replace(workdir / MODEL_FILE)


def read_model_files(workdir: str | Path) -> tuple[ModelConfig, Tokenizer, dict]:
    """What write_model_files wrote.

    Raises:
      InputError: a file is missing or damaged.
    """
    path = Path(workdir) / MODEL_FILE
    try:
        saved = json.loads(path.read_text())
        config, info = ModelConfig.from_dict(saved["model"]), saved["info"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}): restore it from a backup") from error
    return config, Tokenizer.load(Path(workdir) / TOKENIZER), info


class Checkpoints:
    """The step directories of one workdir. Saving is asynchronous: `close` (or leaving a with block) waits for it."""

    def __init__(self, workdir: str | Path, keep: int = 2, read_only: bool = False):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep, create=not read_only, read_only=read_only,
            cleanup_tmp_directories=not read_only,
        )  # fmt: skip
        names = ("params", "training", "data")
        self.manager = ocp.CheckpointManager(Path(workdir).absolute() / STEPS, options=options, item_names=names)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.manager.wait_until_finished()
        self.manager.close()

    def latest(self) -> int | None:
        return self.manager.latest_step()

    def save(self, state: TrainState, data: int) -> None:
        """Save the state under its step number with the data integer (the next step's index)."""
        step = int(state.step)
        if step in self.manager.all_steps():
            return
        items = {
            "params": ocp.args.StandardSave(state.params),
            "training": ocp.args.StandardSave({"step": state.step, "optimizer": state.optimizer}),
            "data": ocp.args.JsonSave({"next_step": data}),
        }
        self.manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, abstract: TrainState, frozen: str) -> tuple[TrainState, int]:
        """The latest state onto the shardings of `abstract` (ShapeDtypeStructs), and its data integer."""
        step = self.latest()
        items = {
            "params": ocp.args.StandardRestore(abstract.params),
            "training": ocp.args.StandardRestore({"step": abstract.step, "optimizer": abstract.optimizer}),
            "data": ocp.args.JsonRestore(),
        }
        restored = self.manager.restore(step, args=ocp.args.Composite(**items))
        trained, kept = split_params(restored["params"], frozen)
        training = restored["training"]
        return TrainState(training["step"], trained, kept, training["optimizer"]), restored["data"]["next_step"]


def save_model(directory: str | Path, params, config: ModelConfig, tokenizer: Tokenizer, info: dict) -> None:
    """Write parameters alone as step 0 of a workdir that training can start from."""
    write_model_files(directory, config, tokenizer, info)
    with Checkpoints(directory) as checkpoints:
        checkpoints.manager.save(0, args=ocp.args.Composite(params=ocp.args.StandardSave(params)))


def finished_steps(workdir: str | Path) -> list[int]:
    """The steps a workdir holds whole checkpoints of, in order."""
    folder = Path(workdir) / STEPS
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []


def find(checkpoint: str | Path) -> tuple[Path, int]:
    """(workdir, step) of a training workdir or one step inside its checkpoints folder.

    Raises:
      InputError: nothing there to load.
    """
    path = Path(checkpoint)
    if not path.exists():
        raise InputError(f"no checkpoint at {path}: the path does not exist")
    if path.name.isdigit() and path.parent.name == STEPS:
        return path.parent.parent, int(path.name)
    if not (path / MODEL_FILE).is_file():
        raise InputError(
            f"{path} is no checkpoint: it lacks {MODEL_FILE}; give a training workdir, a step in its {STEPS} folder, "
            "or a Hugging Face directory"
        )
    steps = finished_steps(path)
    if not steps:
        raise InputError(f"{path} holds no finished checkpoint yet: let training reach its first one")
    return path, max(steps)


def load_model(
    checkpoint: str | Path, mesh: jax.sharding.Mesh | None = None, rules: ShardingRules | None = None
) -> LoadedModel:
    """Parameters of a workdir or one of its steps, laid onto `mesh` (default: the first device alone)."""
    workdir, step = find(checkpoint)
    config, tokenizer, info = read_model_files(workdir)
    shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    if mesh is None:
        place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        shardings = jax.tree.map(lambda _: place, shapes)
    else:
        shardings = tree_shardings(mesh, rules or ShardingRules(), logical_axes(config), shapes)
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
    )
    with Checkpoints(workdir, read_only=True) as checkpoints:
        restored = checkpoints.manager.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(abstract)))
    return LoadedModel(restored["params"], config, tokenizer, info, step)

"""Open whatever checkpoint a user gave: a training workdir, one step of it, or a Hugging Face directory.

`open_checkpoint` reads everything but the weights; `load_model` lays the weights onto devices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from iadgpt_jax.bucket_files import copied, place
from iadgpt_jax.checkpoint.files import STEPS, TOKENIZER, find_step, kind_of
from iadgpt_jax.checkpoint.whole import check_step, newest_whole
from iadgpt_jax.checkpoint.workdir import Checkpoints, read_model_files
from iadgpt_jax.convert.hf_import import HfDirectory, open_hf
from iadgpt_jax.convert.stored import PARAMS, open_params
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.models.protocols import ModelConfig
from iadgpt_jax.models.registry import init_params, logical_axes
from iadgpt_jax.sharding import ShardingRules, abstract_arrays, tree_shardings

# What holds where a checkpoint does not say otherwise: published weights, and training with the paper's maps.
IMAGE_SIDE, MAP_SPACE = 448, "probability"


@dataclass(frozen=True)
class LoadedModel:
    """A model as it lies in memory, wherever it came from.

    params: tree of jax arrays, float32 from a workdir, and from a Hugging Face directory in the dtype its tensors share
    unless another was asked for (only the fusion gates are float32 always). info: how it was trained, see `Opened`.
    step: of the weights; 0 for what was imported or lies in a Hugging Face directory.
    """

    params: dict
    config: ModelConfig
    tokenizer: Tokenizer
    info: dict
    step: int


@dataclass(frozen=True)
class Opened:
    """A checkpoint without its weights.

    directory: the workdir or Hugging Face directory; step: 0 in the latter. tokenizer_directory: where the tokenizer's
    own files lie. info: what model.json or config.json says of the training. hf: its open files, None of a workdir.
    newest: the newest step was meant, none was named.
    """

    directory: Path
    step: int
    config: ModelConfig
    tokenizer: Tokenizer
    tokenizer_directory: Path
    info: dict
    hf: HfDirectory | None
    newest: bool = False

    def leaves(self) -> dict:
        """The parameter tree of leaves that are sliced where they lie (convert/stored.py), without loading them."""
        return self.hf.pending() if self.hf else open_params(self.directory / STEPS / str(self.step))

    @property
    def dtype(self) -> str:
        """What the weights are kept as: that of the files they came from, float32 after training."""
        return self.hf.dtype.name if self.hf else self.info.get("dtype", "float32")

    def params(self, mesh: Mesh | None = None, rules: ShardingRules | None = None, dtype=None) -> dict:
        """The parameters on devices: see `load_model`."""
        shapes = jax.eval_shape(lambda: init_params(self.config, jax.random.key(0)))
        if mesh is None:
            first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            shardings = jax.tree.map(lambda _: first, shapes)
        else:
            shardings = tree_shardings(mesh, rules or ShardingRules(), logical_axes(self.config), shapes)
        if self.hf:
            return self.hf.params(dtype, shardings)
        return self._restored(abstract_arrays(shapes, shardings))

    def _restored(self, abstract: Any) -> dict:
        with Checkpoints(self.directory, read_only=True) as checkpoints:
            return checkpoints.restore_params(self.step, abstract)

    def checked(self, together: bool = False) -> Opened:
        """This checkpoint, its weights compared with the checksums they were saved with. Where the newest step of a
        workdir was meant and is damaged, the one before it, which is said on standard error.

        together: all processes call this, and each checks a share of the files. Raises InputError where nothing is
        whole.
        """
        if self.hf:
            return self
        if not self.newest:
            check_step(self.directory, self.step, PARAMS, together)
            return self
        return replace(self, step=newest_whole(self.directory, PARAMS, together))


def open_checkpoint(checkpoint: str | Path) -> Opened:
    """Open a training workdir (its newest step), one step of it, or a Hugging Face directory. Before its weights are
    used, `Opened.checked` compares them with their checksums.

    Raises InputError, in one line, for whatever is missing or damaged.
    """
    path = place(checkpoint)
    if kind_of(path) == "hf":
        hf = open_hf(path)
        tokenizer = Tokenizer.load(hf.directory)
        return Opened(hf.directory, 0, hf.config, tokenizer, hf.directory, dict(hf.info), hf)
    workdir, step = find_step(path)
    config, tokenizer, info = read_model_files(workdir)
    tokenizer_files = copied(workdir / TOKENIZER)
    return Opened(workdir, step, config, tokenizer, tokenizer_files, info, None, newest=workdir == path)


def load_model(
    checkpoint: str | Path, mesh: Mesh | None = None, rules: ShardingRules | None = None, dtype=None
) -> LoadedModel:
    """The model of any checkpoint, laid onto `mesh` (default: the first device alone).

    `info` always has "image_side", the square to which inspected images are squashed, and "map_space", the form the
    maps are read in. A training checkpoint is loaded in float32, a Hugging Face directory in `dtype`, by default
    that of its files. Every process reads only what its own devices hold.
    Raises InputError, in one line, for whatever is missing or damaged.
    """
    together = mesh is not None and len({device.process_index for device in mesh.devices.flat}) > 1
    opened = open_checkpoint(checkpoint).checked(together)
    info = inspection_info(opened.info)
    return LoadedModel(opened.params(mesh, rules, dtype), opened.config, opened.tokenizer, info, opened.step)


def inspection_info(info: dict) -> dict:
    """`Opened.info` with what an inspection needs to know: "image_side" and "map_space", as in `load_model`."""
    info = {"image_side": IMAGE_SIDE, "map_space": MAP_SPACE} | info
    if info["map_space"] != "logit":  # "none" where a stage trains no maps; log_probability trains the probability
        info["map_space"] = MAP_SPACE
    return info


def trained_dtype(loaded: LoadedModel) -> str:
    """What training computed in, or else the dtype the weights were loaded in."""
    return loaded.info.get("config", {}).get("dtype") or str(loaded.params["language"]["embedding"].dtype)

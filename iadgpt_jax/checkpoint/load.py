"""Any checkpoint -> LoadedModel: a training workdir, one step of it, or a Hugging Face directory.

Importing this module loads neither JAX nor Orbax, so that a command can refuse a wrong path at once (`kind_of`).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from iadgpt_jax.errors import InputError

if TYPE_CHECKING:
    from iadgpt_jax.checkpoint.workdir import LoadedModel

WORKDIR_FILE, STEPS, HF_FILE = "model.json", "checkpoints", "config.json"
# What holds where a checkpoint does not say otherwise: published weights, and training with the paper's maps.
IMAGE_SIDE, MAP_SPACE = 448, "probability"


def kind_of(checkpoint: str | Path) -> Literal["workdir", "hf"]:
    """What a path holds, told by its files. Raises InputError where that is no checkpoint."""
    path = Path(checkpoint)
    if not path.exists():
        raise InputError(f"no checkpoint at {path}: the path does not exist")
    if not path.is_dir():
        raise InputError(f"{path} is a file; give the directory that holds the checkpoint")
    step = path.name.isdigit() and path.parent.name == STEPS
    if ((path.parent.parent if step else path) / WORKDIR_FILE).is_file():
        return "workdir"
    if (path / HF_FILE).is_file():
        return "hf"
    raise InputError(
        f"{path} is no checkpoint: it holds neither {WORKDIR_FILE} nor {HF_FILE}; give a training workdir, a step in "
        f"its {STEPS} folder, or a Hugging Face directory"
    )


def load_any(checkpoint: str | Path, mesh=None, rules=None, dtype=None) -> LoadedModel:
    """The model of any checkpoint, laid onto `mesh` (default: the first device alone).

    `info` always has "image_side", the square to which inspected images are squashed, and "map_space", the form the
    maps are read in. A training checkpoint is loaded in float32, a Hugging Face directory in `dtype`, by default
    that of its files. Every process reads only what its own devices hold.
    Raises InputError, in one line, for whatever is missing or damaged.
    """
    path = Path(checkpoint)
    loaded = _load_hf(path, mesh, rules, dtype) if kind_of(path) == "hf" else _load_workdir(path, mesh, rules)
    info = {"image_side": IMAGE_SIDE, "map_space": MAP_SPACE} | loaded.info
    if info["map_space"] != "logit":  # "none" where a stage trains no maps; log_probability trains the probability
        info["map_space"] = MAP_SPACE
    return dataclasses.replace(loaded, info=info)


def trained_dtype(loaded: LoadedModel) -> str:
    """What training computed in, or else the dtype the weights were loaded in."""
    return loaded.info.get("config", {}).get("dtype") or str(loaded.params["language"]["embedding"].dtype)


def _load_workdir(path: Path, mesh, rules) -> LoadedModel:
    from iadgpt_jax.checkpoint.workdir import find, load_model

    workdir, step = find(path)
    try:
        return load_model(path, mesh, rules)
    except (ValueError, OSError, KeyError) as error:  # what Orbax raises for files that are missing or cut short
        line = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(
            f"step {step} of {workdir} cannot be read ({line[:200]}); give another step in its {STEPS} folder"
        ) from error


def _load_hf(path: Path, mesh, rules, dtype) -> LoadedModel:
    import jax
    from flax.traverse_util import unflatten_dict

    from iadgpt_jax.checkpoint.workdir import LoadedModel
    from iadgpt_jax.convert.hf_import import open_hf
    from iadgpt_jax.convert.tree import leaf_shapes
    from iadgpt_jax.data.tokenizer import Tokenizer
    from iadgpt_jax.models.initialize import init_params, logical_axes
    from iadgpt_jax.sharding import ShardingRules, tree_shardings

    opened = open_hf(path)
    if mesh is None:
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        shardings = unflatten_dict(dict.fromkeys(leaf_shapes(opened.config), here), sep="/")
    else:
        shapes = jax.eval_shape(lambda: init_params(opened.config, jax.random.key(0)))
        shardings = tree_shardings(mesh, rules or ShardingRules(), logical_axes(opened.config), shapes)
    params = opened.params(dtype, shardings)
    return LoadedModel(params, opened.config, Tokenizer.load(opened.directory), dict(opened.info), 0)

"""A small checkpoint directory on disk, with a tokenizer that fits it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file, save_file

from iadgpt_jax.convert.hf_export import export_hf
from iadgpt_jax.convert.shards import create_shards
from iadgpt_jax.convert.tree import pending_params
from iadgpt_jax.data.tokenizer import Tokenizer, train_tiny
from iadgpt_jax.models.iadgpt.config import ModelConfig
from tests.models.qwen2_5_vl.qwen_pair import small_config

CORPUS = ["Is this product normal? Yes, it is flawless.", "No, there is a defect: a scratch at the top left."]


def small_tokenizer() -> Tokenizer:
    return train_tiny(CORPUS)


def fitted(config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """The same model with the tokenizer's special ids and room for its vocabulary."""
    even = tokenizer.size // 2 * 2 + 4  # tensor parallelism splits it
    language = dataclasses.replace(config.language, vocab=even)
    return dataclasses.replace(config, language=language, tokens=tokenizer.special)


def fitted_small(**changes) -> tuple[ModelConfig, Tokenizer]:
    tokenizer = small_tokenizer()
    return fitted(small_config(**changes), tokenizer), tokenizer


def leaf_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """ "/"-joined path -> shape of every leaf, as the table of names has them."""
    return {path: leaf.shape for path, leaf in flatten_dict(pending_params(config, {}, np.float32), sep="/").items()}


def random_params(config: ModelConfig, seed: int = 0, dtype=np.float32) -> dict:
    """Random leaves, gates 0 (numpy)."""
    rng = np.random.default_rng(seed)
    flat = {path: (0.1 * rng.normal(size=shape)).astype(dtype) for path, shape in leaf_shapes(config).items()}
    if config.taps:
        flat["vision/fusion/gates"] = np.zeros(3, np.float32)
    return unflatten_dict(flat, sep="/")


def write_checkpoint(directory: Path, *, dtype: str | None = None, shard_bytes: int = 10**9, gates=None, **changes):
    """Export a random small model. Returns (config, params)."""
    config, tokenizer = fitted_small(**changes)
    params = random_params(config)
    if gates is not None:
        params["vision"]["fusion"]["gates"] = np.array(gates, np.float32)
    tokenizer.save(directory.parent / "tokenizer")
    export_hf(params, config, directory.parent / "tokenizer", directory, dtype=dtype, shard_bytes=shard_bytes)
    return config, params


def edit_json(file: Path, edit) -> None:
    values = json.loads(file.read_text())
    edit(values)
    file.write_text(json.dumps(values))


def write_tensors(directory: Path, tensors: dict[str, np.ndarray]) -> None:
    """model.safetensors of these tensors, in their order."""
    shapes, dtypes = ({name: getattr(value, what) for name, value in tensors.items()} for what in ("shape", "dtype"))
    for name, target in create_shards(directory, shapes, dtypes).items():
        target[...] = tensors[name]


def edit_tensors(file: Path, edit) -> None:
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, metadata={"format": "pt"})

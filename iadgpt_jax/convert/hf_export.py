"""Parameters, configuration and tokenizer -> a directory in hub layout that transformers loads.

Written aside and renamed when complete. While the fusion gates are 0 the result is stock Qwen2.5-VL, tensor for
tensor; otherwise the gates travel under a name of ours and `differences` says what stock transformers will not do. A
trained IADGPT ships with its PyTorch twin (convert/twin.py), which does all of it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

from iadgpt_jax.convert.config import hf_config_from_model
from iadgpt_jax.convert.model_card import model_card
from iadgpt_jax.convert.names import GATES, entries
from iadgpt_jax.convert.shards import SHARD_BYTES, create_shards
from iadgpt_jax.convert.side_files import copy_tokenizer, generation_config, preprocessor_config
from iadgpt_jax.convert.tree import Watch, params_to_hf, unwatched
from iadgpt_jax.convert.twin import copy_twin, twin_section
from iadgpt_jax.data.ancestry import INFO_KEY
from iadgpt_jax.data.detection_prompt import INFO_KEY as PROMPT_KEY
from iadgpt_jax.data.detection_prompt import prompt_of
from iadgpt_jax.data.native_resolution import pixel_bounds_of
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.protocols import ModelConfig

# No paths of the machine it was trained on.
TRAVELS = ("stage", "image_side", "map_space", PROMPT_KEY, "imported_from", INFO_KEY)
EXPORT_DTYPES = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}


def export_hf(
    params: Mapping,
    config: ModelConfig,
    tokenizer_directory: str | Path,
    out: str | Path,
    *,
    dtype: str | None = None,
    stock: bool = False,
    replace: bool = False,
    info: Mapping | None = None,
    shard_bytes: int = SHARD_BYTES,
    watch: Watch = unwatched,
) -> str:
    """Write the checkpoint and return, in one line, what stock transformers will not reproduce ("" if nothing).

    params: the model's parameter tree, numpy or jax arrays or what lies in a checkpoint (convert/stored.py).
    dtype: a key of EXPORT_DTYPES; None keeps the tree's.
    stock: refuse while the fusion gates are not 0, and ship no twin. replace: an existing `out` may be replaced.
    info: how it was trained and must be evaluated; written into the model card, TRAVELS of it in config.json, and how
    large photographs may be in preprocessor_config.json.
    watch: wraps the parts on their way (convert/tree.py).
    Raises InputError before anything is written.
    """
    out, tokenizer_directory = Path(out), Path(tokenizer_directory)
    gates = fusion_gates(params, config)
    unlike = differences(config, gates)
    if stock and gates.any():
        raise InputError(
            f"the fusion gates are {_numbers(gates)}, not 0, so stock transformers would compute another model; "
            "export without --stock, or a checkpoint from before stage 1"
        )
    if stock and config.places:
        raise InputError("image tokens carry places, which stock transformers knows nothing of; export without --stock")
    if out.exists() and not replace and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; remove it or choose another --out")
    tokenizer = Tokenizer.load(tokenizer_directory)
    prompt, bounds = prompt_of(info or {}), pixel_bounds_of(info or {})
    kind = EXPORT_DTYPES[dtype] if dtype else np.dtype(params["language"]["embedding"].dtype)
    if kind not in EXPORT_DTYPES.values():
        raise InputError(f"no export as dtype {kind}; choose one of {', '.join(EXPORT_DTYPES)}")
    carried = bool(gates.any())
    twin = config.taps and not stock and bool(unlike or (info or {}).get("stage"))
    travels = {key: info[key] for key in TRAVELS if info and key in info}
    if twin:
        travels[PROMPT_KEY] = prompt.to_dict()
    rows = entries(config, carried)
    shapes = {row.name: row.axes.hf_shape for row in rows}
    dtypes = {row.name: np.dtype(np.float32) if row.name == GATES else kind for row in rows}

    aside = out.with_name(f".{out.name}.unfinished-{os.getpid()}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; choose another --out") from error
    try:
        params_to_hf(config, params, create_shards(aside, shapes, dtypes, shard_bytes), watch)
        video = tokenizer.backend.token_to_id("<|video_pad|>")
        section = twin_section(fusion=carried) if twin else None
        _write_json(aside / "config.json", hf_config_from_model(config, _name(kind), video, travels, section))
        _write_json(aside / "generation_config.json", generation_config(config))
        _write_json(aside / "preprocessor_config.json", preprocessor_config(config, bounds))
        copy_tokenizer(tokenizer_directory, aside)
        if twin:
            copy_twin(aside)
        (aside / "README.md").write_text(model_card(config, unlike, info or {}, twin))
        if out.exists():
            shutil.rmtree(out)
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return unlike


def fusion_gates(params: Mapping, config: ModelConfig) -> np.ndarray:
    """float32[G - 1], zeros for a model without taps."""
    if not config.taps:
        return np.zeros(3, np.float32)
    return np.asarray(params["vision"]["fusion"]["gates"], np.float32)


def differences(config: ModelConfig, gates: np.ndarray) -> str:
    """In one line what stock transformers will not reproduce; "" where it computes this very model."""
    parts = []
    if gates.any():
        parts.append(f"multi-layer fusion (gates {_numbers(gates)})")
    if config.positions == "aligned":
        parts.append("aligned image positions")
    if config.places:
        parts.append("places of image tokens")
    if not parts:
        return ""
    return (
        f"stock transformers loads this checkpoint but will not reproduce its {listed(parts)}, "
        "nor the compression of further references"
    )


def listed(parts: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def _write_json(file: Path, values: dict) -> None:
    file.write_text(json.dumps(values, indent=2) + "\n")


def _name(dtype: np.dtype) -> str:
    return next(name for name, known in EXPORT_DTYPES.items() if known == dtype)


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in values)

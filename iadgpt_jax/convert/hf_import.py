"""A Hugging Face directory of Qwen2.5-VL (or an exported IADGPT) -> parameters, configuration, tokenizer.

`open_hf` reads and checks everything but the values, so that whatever is wrong is said before the work begins;
`HfDirectory.params` then streams the values, into sharded arrays where shardings are given.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iadgpt_jax.convert.config import model_config_from_hf, training_info
from iadgpt_jax.convert.names import GATES, entries
from iadgpt_jax.convert.shards import DTYPES, Shards
from iadgpt_jax.convert.side_files import read_preprocessor
from iadgpt_jax.convert.tree import Watch, params_from_hf, pending_params, unwatched
from iadgpt_jax.data.native_resolution import INFO_KEY
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.protocols import ModelConfig
from iadgpt_jax.models.qwen2_5_vl.hub_names import HEAD

EMBEDDING = "model.embed_tokens.weight"
HUB = "hf://"


@dataclass(frozen=True)
class HfDirectory:
    """A checked checkpoint. info: how large photographs may be ("image_pixels"), and of an IADGPT how it was trained;
    dtype: the one all its tensors share, else float32."""

    directory: Path
    config: ModelConfig
    info: dict
    dtype: np.dtype
    shards: Shards

    def params(self, dtype=None, shardings=None, watch: Watch = unwatched) -> dict:
        """The parameter tree (convert/tree.py); dtype: None keeps the file's."""
        return params_from_hf(self.config, self.shards, self.dtype if dtype is None else dtype, shardings, watch)

    def pending(self, dtype=None) -> dict:
        """The same tree as leaves that are read when a checkpoint writes them (convert/stored.py)."""
        return pending_params(self.config, self.shards, self.dtype if dtype is None else dtype)


def open_hf(hf: str | Path, taps: bool | None = None) -> HfDirectory:
    """Open a local directory, or a repository of the hub (hf://OWNER/NAME[@REVISION]), and check it whole.

    taps: see `model_config_from_hf`. Raises InputError, in one line that names file and tensor.
    """
    directory = local_directory(hf)
    values = _read_config(directory)
    config = model_config_from_hf(values, str(directory / "config.json"), taps)
    _check_tokenizer(directory, Tokenizer.load(directory), config)
    shards = Shards(directory)
    _check_tensors(directory, shards, config)
    kinds = {stored.dtype for name, stored in shards.stored.items() if name != GATES}
    dtype = kinds.pop() if len(kinds) == 1 and kinds != {DTYPES["F64"]} else DTYPES["F32"]
    info = training_info(values) | {INFO_KEY: list(read_preprocessor(directory, config))}
    return HfDirectory(directory, config, info, dtype, shards)


def local_directory(hf: str | Path) -> Path:
    """The directory itself, or where the hub's repository hf://OWNER/NAME[@REVISION] was downloaded to.

    Only that form asks the hub: a mistyped path must not become a stranger's weights.
    """
    text = str(hf)
    if text.startswith(HUB):
        return _downloaded(text)
    path = Path(hf).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"{path} is a file; give the directory that holds config.json and the weights")
    like = f"{HUB}{text}" if re.fullmatch(r"[\w.-]+/[\w.-]+", text) else f"{HUB}Qwen/Qwen2.5-VL-7B-Instruct"
    raise InputError(f"no directory {path}; check the path, or write {like} to download from the hub")


def origin(hf: str | Path) -> str:
    """What to note of where a model was imported from: a directory's name, or a repository with its exact revision."""
    text = str(hf)
    if not text.startswith(HUB):
        return Path(hf).name
    return f"{text.split('@')[0]}@{local_directory(hf).name}"  # the hub's cache names folders by their commits


def _downloaded(hf: str) -> Path:
    found = re.fullmatch(HUB + r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", hf)
    if not found:
        raise InputError(f"{hf} names no repository: write {HUB}OWNER/NAME or {HUB}OWNER/NAME@REVISION")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    files = ["*.json", "*.jinja", "*.txt", "*.safetensors"]
    try:
        return Path(snapshot_download(found[1], revision=found[2], allow_patterns=files))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"the hub cannot give {hf} ({type(error).__name__}); check the name and the network, or download it "
            "elsewhere and give its directory"
        ) from error


def _read_config(directory: Path) -> dict:
    file = directory / "config.json"
    try:
        values = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing; give a directory with the model's configuration and weights") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON ({error}); download it again") from error
    if not isinstance(values, dict):
        raise InputError(f"{file} holds no JSON object; download it again")
    return values


def _check_tokenizer(directory: Path, tokenizer: Tokenizer, config: ModelConfig) -> None:
    file = directory / "tokenizer.json"
    for name in ("image", "vision_start", "vision_end", "chat_start", "chat_end", "end_of_text"):
        has, wants = getattr(tokenizer.special, name), getattr(config.tokens, name)
        if has != wants:
            raise InputError(f"{file}: token {name} has id {has}, but {wants} in config.json; take both from one model")
    if tokenizer.size > config.language.vocab:
        raise InputError(
            f"{file} has {tokenizer.size} tokens, config.json only {config.language.vocab}; take both from one model"
        )


def _check_tensors(directory: Path, shards: Shards, config: ModelConfig) -> None:
    """Every tensor the configuration asks for, of its shape, and no other."""
    wanted = {entry.name: entry.axes.hf_shape for entry in entries(config, gates=config.taps)}
    tied_head = HEAD[0] if config.language.tied and HEAD[0] in shards else None
    stray = sorted(set(shards) - set(wanted) - {tied_head})
    if GATES in stray:
        raise InputError(
            f"{shards.stored[GATES].file}: tensor {GATES} needs taps, which are off; set iadgpt.taps in config.json"
        )
    if stray:
        stored = shards.stored[stray[0]]
        raise InputError(
            f"{stored.file}: tensor {stored.name} ({_count(stray)}) has no place in the model of config.json; "
            "take config and weights from one model"
        )
    missing = [name for name in wanted if name not in shards and name != GATES]
    if missing:
        files = ", ".join(file.name for file in shards.files)
        raise InputError(
            f"{directory}: config.json asks for tensor {missing[0]} ({_count(missing)}), but it is in none of "
            f"{_short(files)}; get the checkpoint again, whole"
        )
    for name, shape in wanted.items():
        if name in shards and (stored := shards.stored[name]).shape != shape:
            raise InputError(
                f"{stored.file}: tensor {stored.name} has shape {list(stored.shape)}, but config.json asks for "
                f"{list(shape)}; take config and weights from one model"
            )
    if tied_head:
        _check_tied(shards)


def _check_tied(shards: Shards, rows: int = 4096) -> None:
    """A head stored beside tied embeddings must be equal to them: otherwise dropping it would change the model."""
    head, table = shards[HEAD[0]], shards[EMBEDDING]
    stored = shards.stored[HEAD[0]]
    equal = stored.shape == shards.stored[EMBEDDING].shape
    for start in range(0, stored.shape[0], rows) if equal else ():
        stop = min(start + rows, stored.shape[0])
        equal = equal and np.array_equal(head[start:stop], table[start:stop])
    if not equal:
        raise InputError(
            f"{stored.file}: {stored.name} differs from the embeddings, but config.json ties the two; "
            "set tie_word_embeddings to false"
        )


def _count(names: list[str]) -> str:
    return "alone" if len(names) == 1 else f"and {len(names) - 1} more"


def _short(text: str, length: int = 100) -> str:
    return text if len(text) <= length else text[:length] + "…"

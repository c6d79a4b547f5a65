"""A workdir's contents: the model's card and tokenizer, and per step parameters, training state and one data integer.

    checkpoints/<step>/   Orbax: params, training (a tree), data (the integer)

A step's directory appears only when it is complete (Orbax writes aside and renames; in a bucket it writes an object
that says so at the end), so a kill at any moment leaves the last complete one. Checksums of its files are written with
it (digests.py); whole.py checks them. What the training tree holds is training's affair (train/resume.py).
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from iadgpt_jax.bucket_files import copied, place, staged
from iadgpt_jax.buckets import is_bucket
from iadgpt_jax.checkpoint.files import MODEL_FILE, STEPS, TOKENIZER
from iadgpt_jax.checkpoint.whole import set_damaged_aside
from iadgpt_jax.convert.stored import PARAMS
from iadgpt_jax.data.tokenizer import Tokenizer
from iadgpt_jax.digests import damage, write_digests
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.protocols import ModelConfig
from iadgpt_jax.models.registry import config_from_dict, config_to_dict
from iadgpt_jax.whole_file import write_whole

TRAINING, DATA = "training", "data"
CHECKSUM = "crc32"  # of model.json's other values


def write_model_files(workdir: str | Path, config: ModelConfig, tokenizer: Tokenizer, info: dict) -> None:
    """model.json and the tokenizer: files that are whole or not there.

    Raises:
      InputError: they cannot be written there.
    """
    saved = {"model": config_to_dict(config), "info": info}
    try:
        with staged(workdir) as folder:
            tokenizer.save(folder / TOKENIZER)
            write_digests(folder / TOKENIZER)
            text = json.dumps(saved | {CHECKSUM: _checksum(saved)}, indent=2, sort_keys=True)
            write_whole(folder / MODEL_FILE, text)
    except OSError as error:
        raise InputError(f"{workdir} cannot be written ({error.strerror}): make room, or choose another") from error


def read_model_files(workdir: str | Path) -> tuple[ModelConfig, Tokenizer, dict]:
    """What write_model_files wrote.

    Raises:
      InputError: a file is missing or damaged.
    """
    path = place(workdir) / MODEL_FILE
    try:
        saved = json.loads(path.read_text())
        if saved.pop(CHECKSUM, None) not in (None, _checksum(saved)):
            raise InputError(
                f"{path} has changed since it was written: restore it from a backup, or remove its {CHECKSUM} if you "
                "changed it yourself"
            )
        config, info = config_from_dict(saved["model"]), saved["info"]
        if not isinstance(info, dict):
            raise TypeError(f"info is {info!r}")
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}): restore it from a backup") from error
    tokenizer = copied(place(workdir) / TOKENIZER)
    if what := damage(tokenizer):
        raise InputError(f"{place(workdir) / TOKENIZER} is damaged ({what}): restore it from a backup")
    return config, Tokenizer.load(tokenizer), info


def _checksum(saved: dict) -> int:
    """CRC-32 of the values, however they are laid out."""
    return zlib.crc32(json.dumps(saved, sort_keys=True).encode())


class _Trees(ocp.StandardCheckpointHandler):
    """Writes a tree, and checksums of its files while the step still has its temporary name."""

    def finalize(self, directory) -> None:
        super().finalize(directory)
        write_digests(place(directory))


class _Json(ocp.JsonCheckpointHandler):
    """The same for a JSON value."""

    def finalize(self, directory) -> None:
        super().finalize(directory)
        write_digests(place(directory))


def _handlers() -> ocp.handlers.CheckpointHandlerRegistry:
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for item in (PARAMS, TRAINING):
        trees = _Trees()
        registry.add(item, ocp.args.StandardSave, trees)
        registry.add(item, ocp.args.StandardRestore, trees)
    numbers = _Json()
    registry.add(DATA, ocp.args.JsonSave, numbers)
    registry.add(DATA, ocp.args.JsonRestore, numbers)
    return registry


class Checkpoints:
    """The steps of one workdir. Saving is asynchronous: `close` (or leaving a with block) waits for it.

    Opened for writing, it sets damaged steps aside, so that the latest is whole, unless that was done already
    (`checked`). Raises InputError where there are steps and none is.
    """

    def __init__(self, workdir: str | Path, keep: int = 2, read_only: bool = False, checked: bool = False):
        if not read_only and not checked:
            set_damaged_aside(workdir)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep, create=not read_only, read_only=read_only,
            cleanup_tmp_directories=not read_only,
        )  # fmt: skip
        self._workdir = place(workdir)
        self._manager = ocp.CheckpointManager(
            (self._workdir if is_bucket(workdir) else self._workdir.absolute()) / STEPS,
            options=options,
            handler_registry=_handlers(),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def wait(self) -> None:
        """For what is being saved. Raises what its writing failed with."""
        self._manager.wait_until_finished()

    def look_again(self) -> None:
        """Which steps there are, after a save that failed."""
        self._manager.reload()

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def save(self, step: int, params: Any, training: Any = None, data: int | None = None) -> None:
        """Save trees of arrays under a step, unless it is there already. data: where the data goes on, the next step's
        index. training and data go together; without them the step holds a model alone."""
        if step in self._manager.all_steps():
            return
        items: dict[str, Any] = {PARAMS: ocp.args.StandardSave(params)}
        if training is not None:
            items |= {TRAINING: ocp.args.StandardSave(training), DATA: ocp.args.JsonSave({"next_step": data})}
        self._manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, params: Any, training: Any, step: int | None = None) -> tuple[Any, Any, int]:
        """(parameters, training tree, data integer) of a step, by default the latest, onto the shardings of the two
        trees of ShapeDtypeStructs. Raises InputError where they cannot be read."""
        items = {
            PARAMS: ocp.args.StandardRestore(params), TRAINING: ocp.args.StandardRestore(training),
            DATA: ocp.args.JsonRestore(),
        }  # fmt: skip
        restored = self._read(self.latest() if step is None else step, items)
        return restored[PARAMS], restored[TRAINING], restored[DATA]["next_step"]

    def restore_params(self, step: int, params: Any) -> Any:
        """The parameters of a step, onto the shardings of a tree of ShapeDtypeStructs. Raises InputError where they
        cannot be read."""
        return self._read(step, {PARAMS: ocp.args.StandardRestore(params)})[PARAMS]

    def _read(self, step: int | None, items: dict[str, Any]) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # missing and cut files come as whatever class Orbax, TensorStore or JSON raise
            line = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise InputError(
                f"step {step} of {self._workdir} cannot be read ({line[:200]}); give another step in its {STEPS} folder"
            ) from error


def save_model(directory: str | Path, params, config: ModelConfig, tokenizer: Tokenizer, info: dict) -> None:
    """Write parameters alone as step 0 of a workdir that training can start from."""
    write_model_files(directory, config, tokenizer, info)
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(0, params)

"""A training state in a workdir's checkpoints, and out of them again."""

from __future__ import annotations

from iadgpt_jax.checkpoint.workdir import Checkpoints
from iadgpt_jax.train.optimizer import split_params
from iadgpt_jax.train.state import TrainState


def save_state(checkpoints: Checkpoints, state: TrainState, data: int) -> None:
    """Save the state under its step number, with the data integer (the next step's index)."""
    checkpoints.save(int(state.step), state.params, _training(state), data)


def restore_state(
    checkpoints: Checkpoints, abstract: TrainState, frozen: str, step: int | None = None
) -> tuple[TrainState, int]:
    """The state of a step, by default the latest, onto the shardings of `abstract` (ShapeDtypeStructs), and its data
    integer."""
    params, training, data = checkpoints.restore(abstract.params, _training(abstract), step)
    trained, kept = split_params(params, frozen)
    return TrainState(training["step"], trained, kept, training["optimizer"]), data


def _training(state: TrainState) -> dict:
    return {"step": state.step, "optimizer": state.optimizer}

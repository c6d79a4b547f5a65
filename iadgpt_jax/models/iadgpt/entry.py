"""IADGPT as the table of models has it."""

from iadgpt_jax.models.iadgpt import config, decode, objective
from iadgpt_jax.models.iadgpt.initialize import boxed_params
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.models.protocols import ModelEntry

ENTRY = ModelEntry(
    config=config.ModelConfig,
    presets=config.PRESETS,
    module=IADGPT,
    boxed_params=boxed_params,
    neutral=config.NEUTRAL,
    objective=objective.objective,
    check=objective.check,
    record=objective.record,
    decode=decode,
)

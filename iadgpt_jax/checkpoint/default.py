"""The model that is used where no --checkpoint is given: the small one that ships with the package, if one does.

It is a Hugging Face directory inside the package, `SHIPPED`; beside its weights, MADE says how it was made.
"""

from __future__ import annotations

from pathlib import Path

from iadgpt_jax.checkpoint.files import HF_FILE
from iadgpt_jax.errors import InputError

SHIPPED = Path(__file__).resolve().parents[1] / "small_model"
MADE = "made.json"  # the command and the seed that made it, and its results
NOTICE = (
    "no --checkpoint given: this is the small model that ships with iadgpt. It was trained on made-up products alone; "
    "its verdicts on photographs are a demonstration, nothing to decide by"
)


def default_checkpoint() -> Path:
    """The directory of the shipped model. Raises InputError where none ships with this installation."""
    if not (SHIPPED / HF_FILE).is_file():
        raise InputError(
            "--checkpoint is missing, and no model ships with this version: give --checkpoint=DIR, or train a small "
            "one with iadgpt quickstart"
        )
    return SHIPPED

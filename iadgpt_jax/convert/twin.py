"""The PyTorch twin beside an export: which files it is, and what config.json must tell it and transformers.

The files lie in convert/torch_twin/ and import nothing of this package, so that an evaluator needs only torch and
transformers; prompts therefore travel as text, the detection prompt with what config.json says of the training.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from iadgpt_jax.data.chat import HEADER, TO_ANSWER
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.errors import InputError

SOURCE = Path(__file__).with_name("torch_twin")
FILES = tuple(sorted(path.name for path in SOURCE.glob("*_iadgpt.py")))
CLASS = "IADGPTForConditionalGeneration"
AUTO_MAP = {"AutoModelForImageTextToText": f"modeling_iadgpt.{CLASS}"}


def twin_section(fusion: bool) -> dict:
    """What `hf_config_from_model` adds for the twin. fusion: the checkpoint carries gates.

    The model type stays qwen2_5_vl, so that tools which know Qwen2.5-VL still load the weights; the architecture is
    named as the twin's, so that servers which go by it do not take the model for a stock one.
    """
    return {
        "architectures": [CLASS],
        "auto_map": AUTO_MAP,
        "fusion": fusion,
        "prompt": {
            "header": HEADER,
            "to_answer": TO_ANSWER,
            "reason": prompts.REASON,
        },
    }


def copy_twin(directory: Path) -> None:
    for name in FILES:
        shutil.copyfile(SOURCE / name, directory / name)


def has_twin(directory: Path) -> bool:
    """Whether config.json registers the twin. Raises InputError where its files are not the ones of this version: what
    is compared or run must be the code that was tested."""
    file = directory / "config.json"
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON ({error}); export the model again") from error
    if not isinstance(config, dict) or config.get("auto_map") != AUTO_MAP:
        return False
    for name in FILES:
        file = directory / name
        if not file.is_file() or file.read_bytes() != (SOURCE / name).read_bytes():
            raise InputError(f"{file} is not this version's PyTorch twin; export the checkpoint again")
    return True

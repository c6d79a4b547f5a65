"""What stands beside the weights in a hub directory: generation and preprocessor settings, tokenizer, chat template."""

from __future__ import annotations

import shutil
from pathlib import Path

from iadgpt_jax.data.chat import CHAT_TEMPLATE
from iadgpt_jax.data.native_resolution import MAX_PIXELS, MIN_PIXELS
from iadgpt_jax.models.protocols import ModelConfig
from iadgpt_jax.models.qwen2_5_vl.vision import IMAGE_MEAN, IMAGE_STD

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
TEMPLATES = TOKENIZER_FILES[-2:]


def preprocessor_config(config: ModelConfig) -> dict:
    """preprocessor_config.json as published with Qwen2.5-VL."""
    return {
        "min_pixels": MIN_PIXELS,
        "max_pixels": MAX_PIXELS,
        "patch_size": config.vision.patch,
        "temporal_patch_size": 2,
        "merge_size": config.vision.merge,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    }


def generation_config(config: ModelConfig) -> dict:
    """Greedy, without the published repetition penalty: an inspector's verdict must not hang on words of its prompt."""
    tokens = config.tokens
    return {
        "bos_token_id": tokens.end_of_text,
        "pad_token_id": tokens.end_of_text,
        "eos_token_id": [tokens.chat_end, tokens.end_of_text],
        "do_sample": False,
    }


def copy_tokenizer(source: str | Path, target: str | Path) -> None:
    """All of a tokenizer's files as they are; a chat template where the source has none."""
    source, target = Path(source), Path(target)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if not any((target / name).exists() for name in TEMPLATES):
        (target / TEMPLATES[0]).write_text(CHAT_TEMPLATE)

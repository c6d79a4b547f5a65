"""What stands beside the weights in a hub directory: generation and preprocessor settings, tokenizer, chat template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from iadgpt_jax.data.chat import CHAT_TEMPLATE
from iadgpt_jax.data.native_resolution import PUBLISHED, PixelBounds, are_bounds
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.protocols import ModelConfig
from iadgpt_jax.models.qwen2_5_vl.vision import IMAGE_MEAN, IMAGE_STD

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
TEMPLATES = TOKENIZER_FILES[-2:]


PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
UNSAID = PixelBounds(56 * 56, 28 * 28 * 1280)  # what transformers takes where a file names no size


def read_preprocessor(directory: Path, config: ModelConfig) -> PixelBounds:
    """How large photographs may be, from preprocessor_config.json, or from processor_config.json where transformers 5
    nested it there; as published where there is neither.

    Both layouts are read: min_pixels and max_pixels, or size with shortest_edge and longest_edge. Raises InputError,
    naming file and field, where the file asks for pixels this model does not compute: another mean or deviation, patch
    size or resampling, or no resizing at all.
    """
    file, values = directory / PROCESSOR, _read_object(directory / PROCESSOR).get("image_processor")
    if values is None:
        file = directory / PREPROCESSOR
        if not file.exists():
            return PUBLISHED
        values = _read_object(file)
    if not isinstance(values, dict):
        raise InputError(f"{file}: image_processor is {values!r}, no JSON object; get it again")
    _check_pixels(file, values, config)
    size = values.get("size") or {}
    if not isinstance(size, Mapping):
        raise InputError(f"{file}: size is {size!r}; expected shortest_edge and longest_edge, in pixels of area")
    least, most = (
        size.get(edge, unsaid) if values.get(name) is None else values[name]
        for name, edge, unsaid in zip(
            ("min_pixels", "max_pixels"), ("shortest_edge", "longest_edge"), UNSAID, strict=True
        )
    )
    if not are_bounds((least, most)):
        raise InputError(f"{file}: photographs of {least!r} to {most!r} pixels cannot be; correct the two bounds")
    return PixelBounds(least, most)


def _read_object(file: Path) -> dict:
    """A JSON object, {} where there is no such file."""
    try:
        values = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON ({error}); get it again") from error
    if not isinstance(values, dict):
        raise InputError(f"{file} holds no JSON object; get it again")
    return values


def _check_pixels(file: Path, values: Mapping, config: ModelConfig) -> None:
    for name, ours in (("image_mean", IMAGE_MEAN), ("image_std", IMAGE_STD), ("rescale_factor", (1 / 255,))):
        theirs = values.get(name, list(ours))
        theirs = theirs if isinstance(theirs, list) else [theirs]
        if len(theirs) != len(ours) or not all(
            isinstance(a, int | float) and b * (1 - 1e-5) <= a <= b * (1 + 1e-5)
            for a, b in zip(theirs, ours, strict=True)
        ):
            raise InputError(f"{file}: {name} is {values[name]}; this model computes only {', '.join(map(str, ours))}")
    fixed = {
        "patch_size": config.vision.patch, "merge_size": config.vision.merge, "temporal_patch_size": 2,
        "resample": 3, "do_resize": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": True,
    }  # fmt: skip
    for name, ours in fixed.items():
        if values.get(name, ours) not in (ours, None):
            raise InputError(f"{file}: {name} is {values[name]!r}; this model computes only {ours!r}")


def preprocessor_config(config: ModelConfig, bounds: PixelBounds = PUBLISHED) -> dict:
    """preprocessor_config.json in the layout published with Qwen2.5-VL."""
    return {
        "min_pixels": bounds.least,
        "max_pixels": bounds.most,
        "patch_size": config.vision.patch,
        "temporal_patch_size": 2,
        "merge_size": config.vision.merge,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    }


def generation_config(config: ModelConfig) -> dict:
    """Greedy, without the published repetition penalty: a verdict must not depend on words of the prompt."""
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

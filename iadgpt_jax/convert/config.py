"""config.json of Qwen2.5-VL and our ModelConfig, in both directions.

Two layouts are read: the hub's (decoder fields at top level, `rope_scaling`) and the one transformers 5 saves
(`text_config`, `rope_parameters`, values equal to the class's defaults left out). Written is the hub's. What Hugging
Face has no field for lies in a section `iadgpt`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.iadgpt.config import PRESETS, ModelConfig
from iadgpt_jax.models.qwen2_5_vl.config import GROUPS, LanguageConfig, SpecialTokens, VisionConfig

SECTION = "iadgpt"
# transformers' defaults (Qwen2_5_VLVisionConfig, Qwen2_5_VLTextConfig): its saved files leave out values equal to them.
VISION_DEFAULTS = dict(
    depth=32, hidden_size=3584, intermediate_size=3420, num_heads=16, patch_size=14, spatial_merge_size=2,
    window_size=112, fullatt_block_indexes=(7, 15, 23, 31), out_hidden_size=3584, hidden_act="silu",
    temporal_patch_size=2,
)  # fmt: skip
TEXT_DEFAULTS = dict(
    num_hidden_layers=80, hidden_size=8192, intermediate_size=29568, num_attention_heads=64, num_key_value_heads=8,
    vocab_size=152064, rms_norm_eps=1e-5, hidden_act="silu", use_sliding_window=False, attention_dropout=0.0,
)  # fmt: skip
ROPE_THETA = 1e6
MROPE_SECTION = (16, 24, 24)


def model_config_from_hf(hf: dict, where: str = "config.json", taps: bool | None = None) -> ModelConfig:
    """Our configuration of a Qwen2.5-VL described by its config.json (both layouts).

    taps: fusion gates and attention maps; None: as the file's `iadgpt` section says, else wherever depths allow it.
    Raises InputError, naming `where` and the field, for another architecture or a feature this model does not have.
    """
    if hf.get("model_type") != "qwen2_5_vl":
        raise InputError(f"{where}: model_type is {hf.get('model_type')!r}; only 'qwen2_5_vl' can be converted")
    ours = _object(where, SECTION, hf.get(SECTION))
    text = TEXT_DEFAULTS | (_object(where, "text_config", hf.get("text_config")) or hf)
    seen = VISION_DEFAULTS | _object(where, "vision_config", hf.get("vision_config"))
    for name, values, defaults in (("", text, TEXT_DEFAULTS), ("vision_config.", seen, VISION_DEFAULTS)):
        for key, default in defaults.items():
            if isinstance(default, int | float) and not _like(values[key], default):
                raise InputError(f"{where}: {name}{key} is {values[key]!r:.80}; expected a number like {default!r}")
    _supported(where, "hidden_act", text["hidden_act"], "silu")
    _supported(where, "vision_config.hidden_act", seen["hidden_act"], "silu")
    _supported(where, "vision_config.temporal_patch_size", seen["temporal_patch_size"], 2)
    _supported(where, "vision_config.in_channels", seen.get("in_channels", seen.get("in_chans", 3)), 3)
    _supported(where, "use_sliding_window", bool(text["use_sliding_window"]), False)
    theta, section = _rotary(where, text)
    tied = bool(hf.get("tie_word_embeddings", False) or text.get("tie_word_embeddings", False))
    full_blocks = _whole_numbers(where, "vision_config.fullatt_block_indexes", seen["fullatt_block_indexes"])
    vision = VisionConfig(
        depth=seen["depth"], width=seen["hidden_size"], mlp=seen["intermediate_size"], heads=seen["num_heads"],
        patch=seen["patch_size"], merge=seen["spatial_merge_size"], window=seen["window_size"],
        full_blocks=full_blocks, out=seen["out_hidden_size"],
    )  # fmt: skip
    language = LanguageConfig(
        depth=text["num_hidden_layers"], width=text["hidden_size"], mlp=text["intermediate_size"],
        heads=text["num_attention_heads"], kv_heads=text["num_key_value_heads"],
        vocab=text["vocab_size"], tied=tied, rope_theta=theta, mrope_section=section, eps=text["rms_norm_eps"],
    )  # fmt: skip
    if taps is None:
        taps = ours.get("taps", vision.regular and language.depth % GROUPS == 0)
    published = SpecialTokens()
    if not isinstance(ours.get("training") or {}, dict):
        raise InputError(f"{where}: {SECTION}.training is {ours['training']!r:.80}; expected a JSON object")
    tokens = SpecialTokens(
        image=hf.get("image_token_id", published.image),
        vision_start=hf.get("vision_start_token_id", published.vision_start),
        vision_end=hf.get("vision_end_token_id", published.vision_end),
        **{name: ours.get(name, getattr(published, name)) for name in ("chat_start", "chat_end", "end_of_text")},
    )
    config = ModelConfig(
        name=ours.get("name", "qwen2.5-vl"), vision=vision, language=language, tokens=tokens, taps=taps,
        map_layers=ours.get("map_layers", "all"), positions=ours.get("positions", "qwen"),
        places=ours.get("places", False),
        init=ours.get("init", "normal"),
    )  # fmt: skip
    return config if "name" in ours else dataclasses.replace(config, name=_published_name(config))


def training_info(hf: dict) -> dict:
    """What `hf_config_from_model` wrote of the training; {} for a stock checkpoint."""
    return dict((hf.get(SECTION) or {}).get("training") or {})


def hf_config_from_model(
    config: ModelConfig, dtype: str = "bfloat16", video_token: int | None = None, info: Mapping | None = None,
    twin: Mapping | None = None,
) -> dict:  # fmt: skip
    """config.json in the hub's flat layout.

    video_token: id of `<|video_pad|>`; None: right after the image's. info: how the model was trained, JSON.
    twin: from convert/twin.py, where the PyTorch twin lies beside the weights: what it reads of the section `iadgpt`
    and, under "auto_map" and "architectures", how transformers finds it.
    """
    twin = dict(twin or {})
    vision, language, tokens = config.vision, config.language, config.tokens
    if vision.eps != 1e-6:
        raise InputError(f"model {config.name!r}: vision.eps is {vision.eps}, but Qwen2.5-VL's ViT knows only 1e-6")
    return {
        "architectures": twin.pop("architectures", ["Qwen2_5_VLForConditionalGeneration"]),
        **({"auto_map": twin.pop("auto_map")} if "auto_map" in twin else {}),
        "model_type": "qwen2_5_vl",
        "attention_dropout": 0.0,
        "bos_token_id": tokens.end_of_text,
        "eos_token_id": tokens.chat_end,
        "vision_start_token_id": tokens.vision_start,
        "vision_end_token_id": tokens.vision_end,
        "image_token_id": tokens.image,
        "video_token_id": tokens.image + 1 if video_token is None else video_token,
        "hidden_act": "silu",
        "hidden_size": language.width,
        "initializer_range": 0.02,
        "intermediate_size": language.mlp,
        "max_position_embeddings": 128000,
        "max_window_layers": language.depth,
        "num_attention_heads": language.heads,
        "num_hidden_layers": language.depth,
        "num_key_value_heads": language.kv_heads,
        "rms_norm_eps": language.eps,
        "rope_theta": language.rope_theta,
        "rope_scaling": {"type": "mrope", "mrope_section": list(language.mrope_section)},
        "sliding_window": 32768,
        "tie_word_embeddings": language.tied,
        "torch_dtype": dtype,
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": language.vocab,
        "vision_config": {
            "depth": vision.depth,
            "hidden_act": "silu",
            "hidden_size": vision.width,
            "intermediate_size": vision.mlp,
            "num_heads": vision.heads,
            "in_chans": 3,
            "out_hidden_size": vision.out,
            "patch_size": vision.patch,
            "spatial_merge_size": vision.merge,
            "spatial_patch_size": vision.patch,
            "window_size": vision.window,
            "fullatt_block_indexes": list(vision.full_blocks),
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
        SECTION: {
            "name": config.name,
            "taps": config.taps,
            "map_layers": config.map_layers,
            "positions": config.positions,
            "places": config.places,
            "init": config.init,
            "chat_start": tokens.chat_start,
            "chat_end": tokens.chat_end,
            "end_of_text": tokens.end_of_text,
            "training": dict(info or {}),
            **twin,
        },
    }


def _object(where: str, field: str, value) -> dict:
    """A section of the file, empty where it is absent."""
    if value is not None and not isinstance(value, dict):
        raise InputError(f"{where}: {field} is {value!r}; expected a JSON object")
    return value or {}


def _supported(where: str, field: str, value, only) -> None:
    if value != only:
        raise InputError(f"{where}: {field} is {value!r}; this model computes only {only!r}")


def _rotary(where: str, text: dict) -> tuple[float, tuple[int, int, int]]:
    """(theta, sections) from `rope_parameters` or from `rope_scaling` beside `rope_theta`."""
    rotary = _object(where, "rope_scaling", text.get("rope_parameters") or text.get("rope_scaling"))
    kind = rotary.get("rope_type", rotary.get("type", "default"))
    if kind not in ("default", "mrope"):
        raise InputError(f"{where}: rotary type {kind!r}; only plain M-RoPE ('mrope' or 'default') can be converted")
    theta = rotary.get("rope_theta", text.get("rope_theta", ROPE_THETA))
    if not _like(theta, ROPE_THETA):
        raise InputError(f"{where}: rope_theta is {theta!r:.80}; expected a number like {ROPE_THETA!r}")
    return float(theta), _whole_numbers(where, "mrope_section", rotary.get("mrope_section", MROPE_SECTION))


def _like(value: object, default: float) -> bool:
    """Whether a value is a number of the default's kind: where that is whole, 28.5 layers are not."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, int if isinstance(default, int) else int | float) and abs(value) < 1e12


def _whole_numbers(where: str, field: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(_like(item, 0) for item in value):
        raise InputError(f"{where}: {field} is {value!r:.80}; expected a list of whole numbers")
    return tuple(value)


def _published_name(config: ModelConfig) -> str:
    for name, preset in PRESETS.items():
        if (preset.vision, preset.language) == (config.vision, config.language):
            return name
    return config.name

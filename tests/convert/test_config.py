"""config.json in both layouts against the published file and against what transformers reads and writes."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from transformers import Qwen2_5_VLConfig

from iadgpt_jax.convert.config import hf_config_from_model, model_config_from_hf
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.iadgpt.config import PRESETS
from iadgpt_jax.models.registry import preset
from tests.models.qwen2_5_vl.qwen_pair import draw_config


def test_published_7b(shared_dir):
    published = json.loads((shared_dir / "qwen2_5_vl_7b" / "config.json").read_text())
    assert model_config_from_hf(published) == preset("7b")
    ours = hf_config_from_model(preset("7b"))
    differing = {key for key in published if ours.get(key) != published[key]}
    assert differing == {"vision_token_id", "transformers_version"}  # neither reaches the model


@pytest.mark.parametrize("config", PRESETS.values(), ids=lambda config: config.name)
def test_round_trip_in_both_layouts(config):
    flat = json.loads(json.dumps(hf_config_from_model(config)))
    assert model_config_from_hf(flat) == config
    in_memory = Qwen2_5_VLConfig(**flat)
    assert model_config_from_hf(in_memory.to_dict()) == config
    saved = json.loads(in_memory.to_json_string(use_diff=True))
    assert "text_config" in saved and "rope_theta" not in saved
    assert model_config_from_hf(saved) == config


@pytest.mark.parametrize("seed", range(5))
def test_transformers_reads_what_we_wrote(seed):
    config = draw_config(np.random.default_rng(seed))
    read = Qwen2_5_VLConfig(**hf_config_from_model(config))
    vision, text = read.vision_config, read.text_config
    assert (vision.depth, vision.hidden_size, vision.intermediate_size, vision.num_heads) == (
        config.vision.depth, config.vision.width, config.vision.mlp, config.vision.heads
    )  # fmt: skip
    assert tuple(vision.fullatt_block_indexes) == config.vision.full_blocks
    assert (vision.window_size, vision.out_hidden_size) == (config.vision.window, config.language.width)
    assert (text.num_hidden_layers, text.hidden_size, text.num_key_value_heads, text.rms_norm_eps) == (
        config.language.depth, config.language.width, config.language.kv_heads, config.language.eps
    )  # fmt: skip
    assert text.rope_parameters["rope_theta"] == config.language.rope_theta
    assert tuple(text.rope_parameters["mrope_section"]) == config.language.mrope_section
    assert read.tie_word_embeddings == config.language.tied


def test_taps_where_depths_allow_them():
    flat = hf_config_from_model(preset("3b"))
    del flat["iadgpt"]
    assert model_config_from_hf(flat).taps and not model_config_from_hf(flat, taps=False).taps
    assert model_config_from_hf(flat).name == "3b"
    flat["num_hidden_layers"] = 35
    assert not model_config_from_hf(flat).taps
    with pytest.raises(InputError, match="taps need 4 equal groups"):
        model_config_from_hf(flat, taps=True)


def test_values_that_transformers_leaves_out_are_its_defaults():
    """What a file does not say is taken as transformers takes it."""
    bare = model_config_from_hf({"model_type": "qwen2_5_vl", "hidden_size": 3584, "num_attention_heads": 28,
                                 "num_key_value_heads": 4, "vision_config": {"hidden_size": 1280}})  # fmt: skip
    reference = Qwen2_5_VLConfig(hidden_size=3584, num_attention_heads=28, num_key_value_heads=4)
    assert bare.language.eps == reference.text_config.rms_norm_eps == 1e-5
    assert bare.language.depth == reference.text_config.num_hidden_layers
    assert dataclasses.asdict(bare.tokens)["image"] == reference.image_token_id


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model_type", "qwen2_vl", "model_type"),
        ("hidden_act", "gelu", "hidden_act"),
        ("use_sliding_window", True, "use_sliding_window"),
        ("rope_scaling", {"type": "yarn", "factor": 4.0}, "yarn"),
        ("num_key_value_heads", 5, "heads by kv_heads"),
    ],
)
def test_what_we_do_not_compute_is_refused(field, value, said):
    with pytest.raises(InputError, match=said):
        model_config_from_hf(hf_config_from_model(preset("7b")) | {field: value})

"""The name table covers every leaf and every published name, and its axes invert and slice exactly."""

from __future__ import annotations

import json
import re

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from iadgpt_jax.convert.axes import Axes
from iadgpt_jax.convert.names import entries, hub_name
from iadgpt_jax.convert.tree import params_to_hf
from iadgpt_jax.models.iadgpt.config import PRESETS
from iadgpt_jax.models.registry import init_params, preset
from tests.convert.checkpoints import leaf_shapes, random_params
from tests.models.qwen2_5_vl.qwen_pair import draw_config, small_config

IRREGULAR = small_config(taps=False, vision=dict(depth=5, full_blocks=(1, 4)), language=dict(depth=3))


@pytest.mark.parametrize("config", [*PRESETS.values(), IRREGULAR], ids=lambda config: config.name)
def test_every_leaf_of_the_model_is_named_once(config):
    model = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    assert leaf_shapes(config) == {path: leaf.shape for path, leaf in flatten_dict(model, sep="/").items()}
    rows = entries(config, gates=config.taps)
    assert len({row.name for row in rows}) == len({(row.path, row.index) for row in rows}) == len(rows)
    assert sum(np.prod(row.axes.hf_shape) for row in rows) == sum(map(np.prod, leaf_shapes(config).values()))


def test_published_7b_index(shared_dir):
    """The 729 names and the total size that Qwen published."""
    index = json.loads((shared_dir / "qwen2_5_vl_7b" / "model.safetensors.index.json").read_text())
    rows = entries(preset("7b"))
    assert {row.name for row in rows} == set(index["weight_map"])
    assert sum(2 * int(np.prod(row.axes.hf_shape)) for row in rows) == index["metadata"]["total_size"]


def test_memory_names_become_hub_names():
    pairs = {
        "model.visual.blocks.3.norm1.weight": "visual.blocks.3.norm1.weight",
        "model.language_model.layers.0.mlp.up_proj.weight": "model.layers.0.mlp.up_proj.weight",
        "model.language_model.embed_tokens.weight": "model.embed_tokens.weight",
        "lm_head.weight": "lm_head.weight",
        "visual.merger.ln_q.weight": "visual.merger.ln_q.weight",
        "model.norm.weight": "model.norm.weight",
    }
    assert {name: hub_name(name) for name in pairs} == pairs


def test_axes_by_hand():
    """(heads head) embed -> embed heads head on a matrix small enough to read."""
    axes = Axes.parse("(heads head) embed -> embed heads head", {"heads": 2, "head": 2, "embed": 3})
    matrix = np.arange(12).reshape(4, 3)  # row = head·2 + channel
    ours = axes.from_hf(matrix)
    assert ours.shape == axes.shape == (3, 2, 2)
    assert ours[:, 1, 0].tolist() == matrix[2].tolist()
    np.testing.assert_array_equal(axes.to_hf(ours), matrix)


class Counting:
    """An array that counts what is read from it."""

    def __init__(self, array):
        self.array, self.read = array, 0

    def __getitem__(self, index):
        part = self.array[index]
        self.read += part.size
        return part


@pytest.mark.parametrize("seed", range(4))
def test_any_slice_reads_what_it_needs_and_equals_the_whole(seed):
    rng = np.random.default_rng(seed)
    unique = {row.axes.theirs + row.axes.ours: row.axes for row in entries(draw_config(rng))}
    for axes in unique.values():
        tensor = rng.normal(size=axes.hf_shape)
        whole = axes.from_hf(tensor)
        np.testing.assert_array_equal(axes.to_hf(whole), tensor)
        bounds = [sorted(rng.integers(0, size + 1, 2)) for size in axes.shape]
        index = tuple(slice(low, max(high, low + 1)) if low < size else slice(0, size)
                      for (low, high), size in zip(bounds, axes.shape, strict=True))  # fmt: skip
        source = Counting(tensor)
        np.testing.assert_array_equal(axes.read(source, index), whole[index])
        if all(len(names) == 1 for names in axes.ours):  # a bundle of ours (the patch embedding's) is read whole
            assert source.read == whole[index].size


def test_block_names_follow_groups():
    """Block 31 of the 7B's ViT is the last full block, decoder layer 7 the first of the second group's plain ones."""
    where = {row.name: (row.path, row.index) for row in entries(preset("7b"))}
    assert where["visual.blocks.31.norm1.weight"] == ("vision/groups/full/block/norm1/scale", (3,))
    assert where["visual.blocks.30.norm1.weight"] == ("vision/groups/window/block/norm1/scale", (3, 6))
    assert where["model.layers.7.input_layernorm.weight"] == ("language/groups/plain/norm1/scale", (1, 0))
    assert where["model.layers.6.input_layernorm.weight"] == ("language/groups/tapped/norm1/scale", (0,))
    assert not any(re.search(r"vision/block_", path) for path, _ in where.values())


def test_a_parameter_without_a_name_is_no_silent_loss():
    """A new parameter that nobody gave a hub name would be missing in every export."""
    config = small_config()
    params = random_params(config)
    params["language"]["new"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="no hub name for language/new: add a line"):
        params_to_hf(config, params, {})

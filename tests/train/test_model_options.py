"""config.model sets single values of a model, where the weights it starts from allow it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from configs.common import options_of
from configs.stage1 import get_config
from iadgpt_jax.errors import InputError
from iadgpt_jax.sharding import ShardingRules, make_mesh
from iadgpt_jax.train.build import build_training
from iadgpt_jax.train.model_options import continued, started, with_options
from tests.small_iadgpt import lively_params, small_config

UNSET = options_of(small_config())


def options(**given) -> ConfigDict:
    """config.model with these values set."""
    changed = options_of(small_config())
    for name, value in given.items():
        if isinstance(value, dict):
            changed[name].update(value)
        else:
            changed[name] = value
    return changed


def test_what_is_not_set_stays():
    config = small_config()
    assert with_options(config, UNSET) is config
    assert started(config, UNSET, "start") is config and continued(config, UNSET, "workdir") is config


def test_set_values_replace_the_models():
    changed = with_options(small_config(), options(positions="aligned", language={"rope_theta": 10.0}))
    assert changed == small_config(positions="aligned", language={"rope_theta": 10.0})


def test_weights_take_options_that_leave_their_shapes():
    assert started(small_config(), options(positions="aligned"), "start") == small_config(positions="aligned")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(taps=False), "config.model.taps=False does not go with start: its vision/fusion/gates is 3, .*absent"),
        (dict(language={"depth": 8}), "config.model.language.depth=8 does not go with start"),
        (dict(positions="sideways"), "positions is 'sideways'"),
        (dict(map_layers="first"), "map_layers is 'first'"),
        (dict(vision={"tower": "round"}), "no vision tower 'round'; choose one of qwen2_5_vl"),
        (dict(colour="red"), "sets colour, which this model does not have"),
    ],
)
def test_options_that_do_not_go_with_the_weights_are_one_line(given, message):
    with pytest.raises(InputError, match=message):
        started(small_config(), options(**given), "start")


def test_neutral_parameters_that_only_the_options_bring_begin_fresh():
    """Gates put onto weights that have none are 0, as in a fresh model, and every weight is what it was."""
    before = small_config(taps=False)
    params = jax.tree.map(np.copy, lively_params(before))
    with_gates = started(before, options(taps=True), "start")
    stage = get_config("tiny")
    training = build_training(stage, with_gates, make_mesh(1, 1, 1, jax.devices()[:1]), ShardingRules(), params)
    state = training.fresh(jax.tree.map(jnp.asarray, params))
    flat = flatten_dict(params, sep="/")
    assert state.trained.keys() - flat.keys() == {"vision/fusion/gates"}
    assert not state.trained["vision/fusion/gates"].any()
    assert all((state.trained[path] == leaf).all() for path, leaf in flat.items())


def test_a_workdir_goes_on_as_it_was():
    config = small_config(positions="aligned")
    assert continued(config, options(positions="aligned"), "workdir") is config
    with pytest.raises(InputError, match="config.model.positions=qwen is not what workdir was trained with"):
        continued(config, options(positions="qwen"), "workdir")

"""Values that no training can use are one line, before anything is loaded; those of the stages are none of them."""

import importlib

import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.registry import make_module, model_of, preset
from iadgpt_jax.sharding import make_mesh
from iadgpt_jax.train.bounds import BOUNDS, check_values
from iadgpt_jax.train.model_options import with_options

NAN = float("nan")


def configured(**changes):
    config = importlib.import_module("configs.stage3").get_config("tiny")
    config.update_from_flattened_dict(changes)
    return config


@pytest.mark.parametrize("name", ["tiny", "bench", "3b", "7b", "7b,paper", "7b@v5p:2x2x4"])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_what_stages_say_makes_sense(stage, name):
    check_values(importlib.import_module(f"configs.stage{stage}").get_config(name))


@pytest.mark.parametrize("key", " ".join(BOUNDS.values()).split())
def test_no_number_may_be_negative_or_none(key):
    for value in (-1.5 if key == "watchdog_minutes" else -1, NAN):  # -1: by the time that steps take
        config = configured()
        with config.ignore_type():
            config.update_from_flattened_dict({key: value})
        with pytest.raises(InputError, match=rf"config.{key} is {value}(\.0)?: choose "):
            check_values(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rows", 0), ("keep", 0), ("log_every", 0), ("checkpoint_every", 0), ("instances", 0), ("image_side", 0),
        ("optimizer.rate", float("inf")), ("optimizer.b1", 2.0), ("optimizer.b2", 1.0), ("optimizer.clip", 0.0),
        ("optimizer.floor", 5.0), ("optimizer.groups.gates.rate", NAN), ("mixture.inspect.weight", NAN),
        ("mixture.inspect.weight", float("inf")), ("seed", 2**40), ("dtype", "float17"), ("dtype", "int8"),
        ("optimizer.moments", "int8"), ("optimizer.moments", ""), ("row.lanes", ((1,),)), ("row.lanes", (1, 2)),
        ("rows", -1), ("mesh.data", 0), ("mesh.tensor", -2), ("max_skipped", 0), ("checkpoint_minutes", NAN),
        ("mixture.inspect.weight", -1.0),
        ("row.lanes", ((0, 4),)), ("row.lanes", (("a", "b"),)), ("row.lanes", ((1.5, 2),)),
    ],
)  # fmt: skip
def test_silly_values_are_named(key, value):
    with pytest.raises(InputError, match=f"config.{'mesh' if key.startswith('mesh') else key} is "):
        check_values(configured(**{key: value}))


def test_only_one_axis_of_the_mesh_takes_what_is_left():
    with pytest.raises(InputError, match="config.mesh is data=-1, fsdp=-1, tensor=1: .* one may be -1"):
        check_values(configured(**{"mesh.data": -1, "mesh.fsdp": -1}))


@pytest.mark.parametrize("more", [{}, {"init_from": "weights"}])
def test_images_are_whole_windows_before_any_image_is_opened(more):
    with pytest.raises(InputError, match="config.image_side=100 is not a multiple of "):
        check_values(configured(image_side=100, **more))


def test_tasks_and_weights_of_sources_are_checked_before_a_source_is_opened():
    config = configured()
    with config.unlocked():
        config.mixture.inspekt = {"weight": 1.0}
    with pytest.raises(InputError, match="names task 'inspekt'.*inspect"):
        check_values(config)
    config = configured()
    with config.unlocked():
        config.sources.parts = {"path": "DIR", "weight": NAN}
    with pytest.raises(InputError, match="config.sources.parts.weight is nan"):
        check_values(config)


def test_rows_are_cut_into_whole_microbatches():
    with pytest.raises(InputError, match="config.rows=8 does not divide by config.microbatches=3"):
        check_values(configured(rows=8, microbatches=3))


@pytest.mark.parametrize("sizes", [(-1, -1, 1), (0, -1, 1), (-2, -1, 1), (-8, 1, -1), (-2, -4, 1), (0, 1, 1)])
def test_a_mesh_has_sizes_of_one_or_more(sizes):
    with pytest.raises(InputError, match="does not cover 8 devices"):
        make_mesh(*sizes)


@pytest.mark.parametrize(
    "key", ["vision.window", "vision.patch", "vision.heads", "language.heads", "language.kv_heads"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_of_a_model_are_1_or_more(key, value):
    part, name = key.split(".")
    with pytest.raises(InputError, match=f"{name} is {value}: choose a whole number, 1 or more"):
        with_options(preset("tiny"), {part: {name: value}})


def test_the_vocabulary_is_cut_before_anything_is_compiled():
    model = make_module(preset("tiny"))
    with pytest.raises(InputError, match="vocab_chunks=7 does not divide the vocabulary"):
        model_of(preset("tiny")).objective(model, None, configured(vocab_chunks=7))

"""What may change between two starts of a run and what may not; a refusal shows the difference."""

from __future__ import annotations

import importlib
import json
import os

import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.train.changes import FREE, changes, check_changes, check_data


def configured(**values) -> dict:
    config = importlib.import_module("configs.stage3").get_config("tiny")
    config.update_from_flattened_dict(values)
    return json.loads(config.to_json_best_effort())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1), ("source", "elsewhere"), ("mixture.inspect.weight", 60.0), ("optimizer.rate", 1e-3),
        ("image_side", 224), ("init_from", "workdir/other"), ("rows", 4), ("frozen", "^vision"), ("dtype", "bfloat16"),
        ("row.lanes", ((5, 40),)), ("categories", "bolt"), ("optimizer.groups.gates.rate", 3.0), ("steps", 10),
        ("pack.group", 2), ("reduced_jpeg", False), ("detection_prompt", "paper"),
    ],
)  # fmt: skip
def test_what_changes_the_meaning_is_refused_with_the_difference(key, value):
    before = configured()
    after = configured(**{key: value})
    assert key in changes(before, after) and changes(after, after) == {}
    with pytest.raises(InputError, match=rf"runs/a holds a run of another configuration: .*{key} .* -> .*step 7 "):
        check_changes("runs/a", 7, before, after)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mesh.fsdp", 4), ("log_every", 3), ("checkpoint_every", 9), ("keep", 5), ("steps", 10**6), ("remat", "full"),
        ("loader_threads", 3), ("profile.steps", 2), ("microbatches", 2), ("max_skipped", 9), ("slice", "v5p:2x2x4"),
    ],
)  # fmt: skip
def test_how_and_where_a_run_is_computed_may_change(key, value):
    assert changes(configured(), configured(**{key: value})) == {}


def test_every_key_that_is_free_exists():
    assert set(FREE) <= configured().keys()


def test_one_more_source_or_group_is_a_change_a_new_option_of_the_program_is_none():
    before, after = configured(), configured()
    after["sources"] = {"parts": {"path": "DIR", "weight": 1.0}}
    after["brand_new"], after["mixture"]["inspect"]["brand_new"] = 1, 2
    del before["augment"]
    assert set(changes(before, after)) == {"sources.parts.path", "sources.parts.weight"}
    assert changes(before, after)["sources.parts.weight"] == (None, 1.0)


def test_the_same_folder_by_another_name_is_no_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, after = configured(init_from="stage2"), configured(init_from=os.fspath(tmp_path / "stage2"))
    assert changes(before, after) == {}


def test_many_changes_are_counted():
    values = {f"mixture.{name}.weight": 9.0 for name in configured()["mixture"]} | {"seed": 5}
    with pytest.raises(InputError, match=r" and \d+ more; "):
        check_changes("runs/a", 7, configured(), configured(**values))


def test_other_records_are_other_data():
    entry = {"stage": 3, "source": "parts", "records": 96, "categories": ["bolt", "nut"], "images": ["ab"]}
    check_data("runs/a", [entry], [entry])
    check_data("runs/a", [], [entry])  # an older run, which noted nothing
    with pytest.raises(InputError, match="other data: parts 96 -> 97 records in 2 categories"):
        check_data("runs/a", [entry], [entry, entry | {"records": 97}])

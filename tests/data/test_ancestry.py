"""A model knows what its stages were trained on, and finds it again in an evaluation, under another name too."""

from __future__ import annotations

import json

from PIL import Image

from iadgpt_jax.checkpoint.load import open_checkpoint
from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.convert.hf_export import export_hf
from iadgpt_jax.data.ancestry import IN_ALL, INFO_KEY, OF_CATEGORY, trained_before, training_entry, with_entries
from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.sources.folder import FolderSource
from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from tests.data.photographs import draw_dataset
from tests.data.test_leakage import draw
from tests.small_iadgpt import lively_params, small_config


def test_an_entry_says_what_was_trained_on_and_holds_some_hashes(tmp_path):
    draw_dataset(tmp_path / "parts")
    prepare(Request("folder", tmp_path / "parts", tmp_path / "out"), say=lambda line: None)
    entry = training_entry(2, FolderSource(tmp_path / "parts"), ["bolt"])
    assert (entry["stage"], entry["source"], entry["records"], entry["categories"]) == (2, "parts", 8, ["bolt"])
    assert len(entry["images"]) == 8 and all(len(one) == 16 for one in entry["images"])
    source = PreparedSource(tmp_path / "out")
    of_prepared = training_entry(2, source, ["bolt"])
    assert of_prepared["images"] == entry["images"]
    assert set(entry["images"]) < {bytes(one[:8]).hex() for one in source.sha256}
    assert json.loads(json.dumps(entry)) == entry


def test_hashes_are_few_however_large_the_data_is(tmp_path):
    class Many(FolderSource):
        hashed = 0

        def pixel_hashes(self, indices, watch):
            Many.hashed = len(indices)
            return super().pixel_hashes(indices[:1], watch)

    source = Many(draw(tmp_path, "bolt"))
    source.records = source.records * 100
    training_entry(1, source)
    assert Many.hashed == OF_CATEGORY and IN_ALL >= 27 * OF_CATEGORY


def test_entries_of_all_stages_are_kept_once_each():
    one, two = {"stage": 1, "source": "a"}, {"stage": 2, "source": "b"}
    info = {INFO_KEY: with_entries({}, [one])}
    info = {INFO_KEY: with_entries(info, [two])}
    assert info[INFO_KEY] == [one, two] == with_entries(info, [two])


def test_an_earlier_stages_category_is_found_by_its_name(tmp_path):
    source = FolderSource(draw_dataset(tmp_path / "parts"))
    nameless = training_entry(2, source, ["bolt"]) | {"images": []}
    info = {INFO_KEY: [nameless, training_entry(3, open_source("procedural", side=None, procedural_categories=4))]}
    assert trained_before(info, source) == {"bolt": "stage 2"}
    assert trained_before(info, source, ["nut"]) == {}
    assert trained_before({}, source) == {}
    elsewhere = FolderSource(draw(tmp_path / "other", "bolt"))
    assert trained_before(info, elsewhere) == {}, "bolts of another dataset"


def test_the_same_photographs_are_found_under_other_names(tmp_path):
    trained = FolderSource(draw(tmp_path / "mine", "bolt"))
    info = {INFO_KEY: [training_entry(1, trained)]}
    for number, path in enumerate(sorted(trained.keys)):
        target = tmp_path / "benchmark/pin/train/good"
        target.mkdir(parents=True, exist_ok=True)
        Image.open(tmp_path / "mine" / path).save(target / f"copy_{number}.bmp")
    draw(tmp_path / "benchmark", "gear", seed=3)
    found = trained_before(info, FolderSource(tmp_path / "benchmark"))
    assert found == {"pin": "stage 1, whose mine shows at least 2 of its images"}
    prepare(Request("folder", tmp_path / "benchmark", tmp_path / "out"), say=lambda line: None)
    assert trained_before(info, PreparedSource(tmp_path / "out")) == found


def test_made_up_products_are_known_by_name_alone():
    train, held_out = open_source("procedural", side=None), open_source("procedural:held_out", side=None)
    info = {INFO_KEY: [training_entry(3, train)]}
    assert info[INFO_KEY][0]["images"] == [] and len(info[INFO_KEY][0]["categories"]) == 800
    assert trained_before(info, held_out) == {}
    assert len(trained_before(info, train)) == 800


def test_the_ancestry_travels_through_export_and_import(tmp_path):
    entry = training_entry(3, FolderSource(draw(tmp_path / "parts", "bolt")))
    info = {"stage": 3, "image_side": 56, INFO_KEY: [entry]}
    config, params = small_config(), lively_params(small_config())
    save_model(tmp_path / "work", params, config, tiny_tokenizer(), info)
    assert open_checkpoint(tmp_path / "work").info[INFO_KEY] == [entry]
    export_hf(params, config, tmp_path / "work/tokenizer", tmp_path / "hf", info=info)
    assert open_checkpoint(tmp_path / "hf").info[INFO_KEY] == [entry]

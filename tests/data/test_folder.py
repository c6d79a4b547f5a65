"""Folders in MVTec layout are read as they lie, and what is missing in them is said in one line."""

import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.sources.cache import SampleCache
from iadgpt_jax.data.sources.folder import FolderSource
from iadgpt_jax.data.sources.sample import Sample
from iadgpt_jax.errors import InputError
from tests.data.photographs import draw_dataset


@pytest.fixture
def dataset(tmp_path):
    return draw_dataset(tmp_path / "parts")


def test_every_photograph_is_found_in_order(dataset):
    (dataset / "bolt/train/good/.DS_Store").write_text("")
    (dataset / "bolt/train/good/notes.txt").write_text("")
    (dataset / "license").mkdir()
    source = FolderSource(dataset)
    assert source.name == "parts" and len(source) == len(source.records) == 16
    bolt = [(r.category, r.split, r.defective) for r in source.records[:8]]
    expected = [("bolt", "train", False)] * 3 + [("bolt", "test", False)] * 2 + [("bolt", "test", True)] * 3
    assert bolt == expected
    assert {r.category for r in source.records[8:]} == {"nut"}


def test_a_sample_holds_its_files(dataset):
    sample = FolderSource(dataset)[5]
    assert sample.key == "bolt/test/bent_pin/000.png" and sample.defective and sample.defect.kind == "bent pin"
    np.testing.assert_array_equal(sample.image, np.asarray(Image.open(dataset / sample.key)))
    mask = np.asarray(Image.open(dataset / "bolt/ground_truth/bent_pin/000_mask.png"))
    np.testing.assert_array_equal(sample.mask, mask // 255)
    good = FolderSource(dataset)[0]
    assert good.defect is None and not good.defective and good.mask.shape == (60, 90) and not good.mask.any()
    unmasked = FolderSource(dataset)[7]
    assert unmasked.defective and unmasked.mask is None


def test_side_squashes_image_and_mask_alike(dataset):
    sample = FolderSource(dataset, side=28)[5]
    assert sample.image.shape == (28, 28, 3) and sample.mask.shape == (28, 28)
    rows, columns = np.nonzero(sample.mask)
    assert (rows.min(), rows.max()) == (10 * 28 // 60, (14 * 28 - 1) // 60)
    assert (columns.min(), columns.max()) == (20 * 28 // 90, (23 * 28 - 1) // 90)


def test_categories_and_split_restrict(dataset):
    assert {r.category for r in FolderSource(dataset, categories=["nut"]).records} == {"nut"}
    assert {r.split for r in open_source(str(dataset), side=28, split="test").records} == {"test"}
    with pytest.raises(InputError, match="no category screw in .*; there are bolt, nut"):
        FolderSource(dataset, categories=["screw"])


def test_the_root_may_be_one_category(dataset):
    source = FolderSource(dataset / "bolt")
    assert len(source) == 8 and source[0].key == "bolt/train/good/000.png"


def test_indices_are_those_of_a_sequence(dataset):
    source = FolderSource(dataset)
    assert source[-1].key == source[15].key
    with pytest.raises(IndexError):
        source[16]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda root: shutil.rmtree(root), "no such folder"),
        (lambda root: [shutil.rmtree(path) for path in root.iterdir()], "no images in MVTec layout"),
        (lambda root: [shutil.rmtree(path) for path in root.glob("*/*/good")], "no good images in .*put some into"),
        (lambda root: (root / "nut/test/bent_pin/001.png").unlink(), "mask without an image: .*001_mask.png"),
    ],
)
def test_a_folder_at_fault_is_one_clear_line(dataset, damage, says):
    damage(dataset)
    with pytest.raises(InputError, match=says) as error:
        FolderSource(dataset)
    assert str(dataset) in str(error.value) and "\n" not in str(error.value)


def test_a_mask_of_another_size_is_named(dataset):
    Image.new("L", (10, 10)).save(dataset / "bolt/ground_truth/bent_pin/000_mask.png")
    with pytest.raises(InputError, match="000_mask.png is 10x10 but its image .*000.png is 90x60"):
        FolderSource(dataset)[5]


def test_open_source_says_what_it_could_open(dataset):
    assert isinstance(open_source(str(dataset), side=28), FolderSource)
    for spec, says in ((str(dataset / "nowhere"), "no such dataset"), ("procedural:none", "no split none")):
        with pytest.raises(InputError, match=says):
            open_source(spec, side=28)
    (dataset / "dataset_info.json").write_text("{}")
    with pytest.raises(InputError, match="did not write"):
        open_source(str(dataset), side=28)


def test_samples_are_cached_read_only_and_pickled_without_the_cache(dataset):
    source = FolderSource(dataset, side=28)
    assert source[3] is source[3]
    with pytest.raises(ValueError, match="read-only"):
        source[3].image[0] = 0
    assert len(pickle.dumps(source)) < 10_000
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[3].image, source[3].image)


def test_the_cache_drops_the_least_recently_used_beyond_its_bytes():
    loaded = []

    def load(index):
        loaded.append(index)
        image = np.zeros((10, 10, 3), np.uint8)
        return Sample(image, image[..., 0].copy(), False, "a", "train", str(index))

    cache = SampleCache(max_bytes=850)  # room for two samples of 400 bytes
    for index in (0, 1, 0, 2, 0, 1):
        cache.get(index, load)
    assert loaded == [0, 1, 2, 1]


def test_real_photographs_are_read(shared_dir):
    source = FolderSource(shared_dir / "data/real_iad_mini", side=112)
    assert len(source) == 579
    sample = source[[r.defective for r in source.records].index(True)]
    assert sample.image.shape == (112, 112, 3) and sample.mask.any() and sample.defect.kind == "pitting"


def test_open_source_knows_the_procedural_products():
    held_out = open_source("procedural:held_out", side=56, seed=1)
    assert held_out[0].image.shape == (56, 56, 3)
    train = open_source("procedural", side=56, seed=1)
    assert not {r.category for r in held_out.records} & {r.category for r in train.records}

"""Near-duplicates and evaluation images are left out, however they were saved again; every one is told of."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from iadgpt_jax.corpus import fingerprints, workdir
from iadgpt_jax.corpus.clean import Limits, clean
from iadgpt_jax.corpus.collect import collect_from_folder
from iadgpt_jax.corpus.fingerprints import Alike, all_orientations, perceptual_hash
from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.errors import InputError
from tests.corpus import pipeline

SMALL = Limits(least_side=32)


def reasons(work):
    return {item["path"]: item["why"] for item in json.loads((work / workdir.CLEAN_REPORT).read_text())["left_out"]}


def test_every_collected_image_is_kept_or_told_of(products, tmp_path):
    collect_from_folder(tmp_path, products)
    values = clean(tmp_path, SMALL)
    kept = {line["image"] for line in workdir.read_lines(tmp_path / workdir.IMAGES_FILE, "")}
    there = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "collected").rglob("*.*g")}
    assert kept.isdisjoint(reasons(tmp_path)) and kept | set(reasons(tmp_path)) == there
    assert (values["images"], values["kept"], values["left_out_images"]) == (11, 7, 4)


def variants(image: Image.Image):
    """An image as it may turn up on the web again."""
    yield "same", "png", image
    yield "jpeg", "jpg", image
    yield "resized", "png", image.resize((200, 200))
    yield "mirrored", "png", ImageOps.mirror(image)
    yield "turned", "png", image.rotate(90)


@pytest.mark.parametrize("prepared", [False, True], ids=["folder", "prepared"])
def test_evaluation_images_are_kept_out_however_they_were_saved(prepared, tmp_path):
    evaluation = tmp_path / "evaluation/bottle/train/good/000.png"
    pipeline.picture(evaluation, 1)
    pipeline.picture(tmp_path / "evaluation/bottle/train/good/001.png", 2)
    for name, suffix, image in variants(Image.open(evaluation)):
        (tmp_path / "shop/flask").mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / f"shop/flask/{name}.{suffix}")
    pipeline.picture(tmp_path / "shop/flask/new.png", 3)
    collect_from_folder(tmp_path / "corpus", tmp_path / "shop")
    excluded = tmp_path / "evaluation"
    if prepared:
        excluded = tmp_path / "prepared"
        prepare(Request("folder", tmp_path / "evaluation", excluded), say=lambda line: None)
    clean(tmp_path / "corpus", Limits(32, distance=-1), [excluded])
    (kept,) = workdir.read_lines(tmp_path / "corpus" / workdir.IMAGES_FILE, "")
    assert kept["image"] == "collected/flask/new.png"
    why = reasons(tmp_path / "corpus")
    assert "the pixels of an evaluation image: " in why["collected/flask/same.png"]
    assert all("evaluation image: " in text and "bottle/train/good/000.png" in text for text in why.values())


def test_near_duplicates_are_told_by_their_distance_and_may_be_kept(tmp_path):
    pipeline.picture(tmp_path / "shop/part/a.png", 1)
    Image.open(tmp_path / "shop/part/a.png").resize((100, 100)).save(tmp_path / "shop/part/b.jpg", quality=60)
    collect_from_folder(tmp_path, tmp_path / "shop")
    assert clean(tmp_path, SMALL)["kept"] == 1
    assert "a near-duplicate of collected/part/a.png (distance" in reasons(tmp_path)["collected/part/b.jpg"]
    assert clean(tmp_path, Limits(32, distance=-1))["kept"] == 2


def test_what_was_looked_at_is_not_decoded_again(products, tmp_path, monkeypatch):
    collect_from_folder(tmp_path, products)
    clean(tmp_path, SMALL)
    before = pipeline.contents(tmp_path)
    looked_at = []
    monkeypatch.setattr(fingerprints, "read_image", lambda path: looked_at.append(path) or read(path))
    clean(tmp_path, SMALL)
    assert not looked_at and pipeline.contents(tmp_path) == before
    pipeline.picture(tmp_path / "collected/hex_bolt/good_0.png", 99)
    clean(tmp_path, SMALL)
    assert looked_at == [tmp_path / "collected/hex_bolt/good_0.png"]


def read(path):
    return np.asarray(Image.open(path))


def test_the_nearest_hash_is_that_of_a_count_bit_by_bit():
    rng = np.random.default_rng(0)
    hashes = [int(value) for value in rng.integers(0, 2**64, 3000, dtype=np.uint64)]
    alike = Alike()
    assert alike.nearest(0)[1] == ""
    for number, value in enumerate(hashes):
        alike.add(value, str(number))
    for wanted in (hashes[2500] ^ 0b1011, 2**64 - 1, 0):
        distances = [bin(value ^ wanted).count("1") for value in hashes]
        assert alike.nearest(wanted) == (min(distances), str(distances.index(min(distances))))


def test_a_perceptual_hash_is_that_of_the_library(tmp_path):
    import imagehash

    image = pipeline.picture(tmp_path / "a.png", 5)
    assert f"{perceptual_hash(image):016x}" == str(imagehash.phash(Image.fromarray(image)))


def test_all_orientations_are_the_hashes_of_the_turned_and_mirrored_image(tmp_path):
    image = pipeline.picture(tmp_path / "a.png", 5, side=200)[:150]
    ours = all_orientations(image)
    turned = [np.rot90(one, turns) for one in (image, image[:, ::-1]) for turns in range(4)]
    assert ours[0] == perceptual_hash(image) and len(set(ours)) == 8
    for one, whole in zip(ours, turned, strict=True):
        assert bin(one ^ perceptual_hash(whole)).count("1") <= 2


def test_faults_of_the_input_are_one_line(products, tmp_path):
    with pytest.raises(InputError, match="collect first"):
        clean(tmp_path)
    collect_from_folder(tmp_path, products)
    with pytest.raises(InputError, match="no image of .* can be kept; the first: only 64 x 64"):
        clean(tmp_path, Limits(least_side=500))
    with pytest.raises(InputError, match="no such folder: .*--exclude"):
        clean(tmp_path, SMALL, [tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image in .*--exclude"):
        clean(tmp_path, SMALL, [tmp_path / "empty"])


def test_real_photographs_of_evaluation_sets_are_found_among_others(shared_dir, tmp_path):
    """Bottles of MVTec-AD slipped into a folder of real products, encoded anew: out they go, the others stay."""
    bottles = sorted((shared_dir / "data/mvtec_part/bottle/test/good").iterdir())[:3]
    for number, bottle in enumerate(bottles):
        (tmp_path / "shop/flask").mkdir(parents=True, exist_ok=True)
        Image.open(bottle).convert("RGB").resize((224, 224)).save(tmp_path / f"shop/flask/{number}.jpg", quality=75)
    for number, can in enumerate(sorted((shared_dir / "data/real_products/soda_can/train/good").iterdir())[:3]):
        (tmp_path / "shop/can").mkdir(parents=True, exist_ok=True)
        Image.open(can).save(tmp_path / f"shop/can/{number}.png")
    collect_from_folder(tmp_path / "corpus", tmp_path / "shop")
    clean(tmp_path / "corpus", Limits(100, distance=-1), [shared_dir / "data/mvtec_part/bottle/test/good"])
    kept = workdir.read_lines(tmp_path / "corpus" / workdir.IMAGES_FILE, "")
    assert [line["image"] for line in kept] == [f"collected/can/{number}.png" for number in range(3)]

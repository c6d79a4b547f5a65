"""Nothing of evaluation data gets into training: neither its categories by name, nor its pixels under other names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.data.leakage import BENCHMARKS, normalised, without_leakage
from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.sources.folder import FolderSource
from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.errors import InputError
from iadgpt_jax.procedural import Factory
from tests.data.photographs import draw_dataset

LEAKAGE = {"benchmarks": ("mvtec_ad", "visa"), "evaluation": (), "allow": (), "drop": False}


def draw(root: Path, *categories: str, seed: int = 0, suffix: str = ".png") -> Path:
    """Two good photographs of every category, different ones for every seed."""
    rng = np.random.default_rng(seed)
    for category in categories:
        (root / category / "train/good").mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / category / "train/good" / f"{number}{suffix}")
    return root


def prepared(dataset: str, source: Path, out: Path) -> PreparedSource:
    prepare(Request(dataset, source, out), say=lambda line: None)
    return PreparedSource(out)


def checked(source, say=print, categories=(), **changes):
    return without_leakage(source, LEAKAGE | changes, categories, say)


def test_the_published_categories_are_known():
    assert [len(names) for names in BENCHMARKS.values()] == [15, 12]


@pytest.mark.parametrize("category", ["bottle", "Metal_Nut", "metal nut", "chewing-gum", "PCB 1"])
def test_a_category_of_a_benchmark_is_refused_however_it_is_spelled(category, tmp_path):
    source = FolderSource(draw(tmp_path, "gear", category))
    with pytest.raises(
        InputError, match="^2 of 4 records of .* belong to evaluation data: .*/train/good/0.png .*is a c"
    ):
        checked(source)
    assert checked(source, categories=["gear"]) is source


@pytest.mark.parametrize(
    "category", ["screws_in_block", "metal_tag", "ball_screw", "bottle_cap", "kth_wood_a", "pcb", "magnetic_tile"]
)
def test_a_name_that_only_contains_one_is_another_product(category, tmp_path):
    source = FolderSource(draw(tmp_path, category))
    assert checked(source) is source


def test_products_that_are_drawn_pass():
    source = open_source("procedural", side=None)
    assert checked(source) is source
    assert not set(Factory(0, "train", 800, 1, 1, 28).names) & set(Factory(0, "held_out", 800, 1, 1, 28).names)


def test_real_photographs_to_train_on_pass(shared_dir):
    for name in ("real_products", "real_iad_mini"):
        source = FolderSource(shared_dir / "data" / name)
        assert checked(source) is source


@pytest.mark.parametrize("where", ["folder", "prepared"])
@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".webp"])
def test_a_copy_with_the_same_pixels_is_refused_whatever_it_is_called(where, suffix, tmp_path):
    draw(tmp_path / "held_out", "bolt")
    draw(tmp_path / "mine", "gear", seed=1)
    pixels = Image.open(tmp_path / "held_out/bolt/train/good/1.png")
    pixels.save(tmp_path / f"mine/gear/train/good/7{suffix}", lossless=True)
    source, held_out = FolderSource(tmp_path / "mine"), tmp_path / "held_out"
    if where == "prepared":
        source = prepared("folder", tmp_path / "mine", tmp_path / "out")
        prepare(Request("folder", held_out, tmp_path / "held_out_prepared"), say=lambda line: None)
        held_out = tmp_path / "held_out_prepared"
    assert checked(source) is source, "nobody said what it is to be compared with"
    told = (
        rf"^1 of 3 records of .*: gear/train/good/7{suffix} \(the pixels of bolt/train/good/1.png in {held_out.name}\)"
    )
    with pytest.raises(InputError, match=told):
        checked(source, evaluation=(str(held_out),))


def test_one_changed_pixel_is_another_photograph(tmp_path):
    draw(tmp_path / "held_out", "bolt")
    draw(tmp_path / "mine", "gear")  # the same pixels
    for path in (tmp_path / "mine").rglob("*.png"):
        pixels = np.array(Image.open(path))
        pixels[0, 0, 0] ^= 1
        Image.fromarray(pixels).save(path)
    source = FolderSource(tmp_path / "mine")
    assert checked(source, evaluation=(str(tmp_path / "held_out"),)) is source


def test_categories_of_a_named_dataset_count_by_name_too(tmp_path):
    draw(tmp_path / "held_out", "bolt")
    source = FolderSource(draw(tmp_path / "mine", "Bolt", seed=1))
    with pytest.raises(InputError, match="bolt is a category of held_out"):
        checked(source, evaluation=(str(tmp_path / "held_out"),))


def test_another_product_of_the_same_name_is_allowed_but_not_its_pixels(tmp_path):
    draw(tmp_path / "held_out", "zipper")
    source = FolderSource(draw(tmp_path / "mine", "zipper", seed=1))
    assert checked(source, allow=("zipper",), evaluation=(str(tmp_path / "held_out"),)) is source
    same = FolderSource(draw(tmp_path / "same", "zipper"))
    with pytest.raises(InputError, match="2 of 2 .*the pixels of zipper"):
        checked(same, allow=("zipper",), evaluation=(str(tmp_path / "held_out"),))


def conversation(*images: str) -> dict:
    turns = [{"from": "human", "value": "What is this?"}, {"from": "gpt", "value": "A part."}]
    return {"image": list(images), "conversations": turns}


def test_conversations_about_evaluation_images_are_refused_by_folder_and_by_pixels(tmp_path):
    """By a folder above the photograph, of any image shown; by pixels, of the second image shown."""
    draw(tmp_path / "held_out", "bolt")
    for number, folder in enumerate(("DS-MVTec/bottle/image/good", "web/phone", "web/pen", "visa/pcb 1/x")):
        (tmp_path / "mine" / folder).mkdir(parents=True)
        noise = np.random.default_rng(9 + number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "mine" / folder / "a.png")
    Image.open(tmp_path / "held_out/bolt/train/good/0.png").save(tmp_path / "mine/web/pen/b.bmp")
    items = [
        conversation("DS-MVTec/bottle/image/good/a.png"),
        conversation("web/phone/a.png"),
        conversation("web/pen/a.png", "web/pen/b.bmp"),
        conversation("web/phone/a.png", "visa/pcb 1/x/a.png"),
    ]
    (tmp_path / "mine/talk.json").write_text(json.dumps(items))
    source = prepared("anomaly_instruct", tmp_path / "mine", tmp_path / "out")
    with pytest.raises(InputError, match="^2 of 4 .*bottle is a category of mvtec_ad.*pcb1 is a category of visa"):
        checked(source)
    lines: list[str] = []
    kept = checked(source, lines.append, evaluation=(str(tmp_path / "held_out"),), drop=True)
    assert [sample.key for sample in kept] == ["web/phone/a.png#talk-1"] == kept.keys
    (line,) = lines
    assert "3 of 4 records of out" in line and "web/pen/b.bmp#talk-2 (the pixels of bolt/train/good/0.png" in line


def test_what_is_left_is_a_source_like_any_other(tmp_path):
    draw_dataset(tmp_path / "mine", ("bolt", "bottle"))
    source = FolderSource(tmp_path / "mine")
    kept = checked(source, lambda line: None, drop=True)
    assert len(kept) == 8 and {record.category for record in kept.records} == {"bolt"}
    for index in range(len(kept)):
        assert kept[index].key == source[index].key and kept.has_mask(index) == source.has_mask(index)
    with pytest.raises(InputError, match="nothing is left"):
        checked(FolderSource(draw(tmp_path / "all", "pill")), drop=True)


def test_settings_that_make_no_sense_are_one_line(tmp_path):
    source = FolderSource(draw(tmp_path, "gear"))
    with pytest.raises(InputError, match="no benchmark mvtec in config.leakage.benchmarks; choose of mvtec_ad, visa"):
        checked(source, benchmarks=("mvtec",))
    with pytest.raises(InputError, match="no such dataset: gone"):
        checked(source, evaluation=("gone",))


def test_names_are_compared_without_case_and_punctuation():
    assert normalised("Pipe-Fryum") == normalised("pipe_fryum") == "pipefryum"

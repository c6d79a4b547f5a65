"""How large photographs may be is the checkpoint's own: read on import, kept, used in chats, written on export."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from transformers import AutoImageProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.checkpoint.workdir import read_model_files
from iadgpt_jax.convert.hf_import import open_hf
from iadgpt_jax.convert.side_files import read_preprocessor
from iadgpt_jax.data.native_resolution import PUBLISHED, PixelBounds, pixel_bounds_of
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.inspector import Inspector
from iadgpt_jax.models.iadgpt.config import PRESETS
from tests.convert.checkpoints import write_checkpoint
from tools import convert_hf

FILE = "preprocessor_config.json"
BOUNDS = PixelBounds(8 * 784, 64 * 784)  # 8 to 64 merged tokens
SIZES = [(500, 300), (40, 60), (224, 224), (31, 900)]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "hf"
    write_checkpoint(path)
    return path


def rewritten(published, tmp_path, edit):
    """The checkpoint's directory with another preprocessor_config.json; weights are linked."""
    path = tmp_path / "hf"
    path.mkdir()
    for file in published.iterdir():
        (path / file.name).symlink_to(file)
    values = json.loads((published / FILE).read_text())
    edit(values)
    (path / FILE).unlink()
    (path / FILE).write_text(json.dumps(values))
    return path


def pixels(values: dict) -> None:
    values["min_pixels"], values["max_pixels"] = BOUNDS


def size(values: dict) -> None:
    for name in ("min_pixels", "max_pixels"):
        del values[name]
    values["size"] = {"shortest_edge": BOUNDS.least, "longest_edge": BOUNDS.most}


def only_the_most(values: dict) -> None:
    values["max_pixels"] = BOUNDS.most


def nothing(values: dict) -> None:
    for name in ("min_pixels", "max_pixels"):
        del values[name]


def chat(image) -> list:
    return [{"role": "user", "content": [{"type": "image", "image": image}]}]


@pytest.mark.parametrize("edit", [pixels, size, only_the_most, nothing])
def test_a_photograph_in_a_chat_has_as_many_tokens_as_in_transformers(published, tmp_path, edit):
    directory = rewritten(published, tmp_path, edit)
    processor = AutoImageProcessor.from_pretrained(directory, backend="pil")
    assert isinstance(processor, Qwen2VLImageProcessorPil)
    inspector = Inspector(load_model(directory))
    rng = np.random.default_rng(0)
    for high, wide in [*SIZES, (1400, 1100)]:
        image = Image.fromarray(rng.integers(0, 256, (high, wide, 3), dtype=np.uint8))
        grid = processor(image, return_tensors="np")["image_grid_thw"][0]
        encoded = inspector._encode_chat(chat(image))
        assert encoded.images[0].keep == np.prod(grid) // 4, (high, wide)


def test_bounds_survive_import_and_export_in_either_layout(published, tmp_path):
    for name, edit in (("pixels", pixels), ("size", size)):
        (tmp_path / name).mkdir()
        directory = rewritten(published, tmp_path / name, edit)
        workdir, back = tmp_path / name / "work", tmp_path / name / "back"
        convert_hf.main(["import", f"--hf={directory}", f"--out={workdir}"])
        assert read_model_files(workdir)[2]["image_pixels"] == list(BOUNDS)
        assert load_model(workdir).info["image_pixels"] == list(BOUNDS)
        convert_hf.main(["export", f"--checkpoint={workdir}", f"--out={back}"])
        processor = AutoImageProcessor.from_pretrained(back, backend="pil")
        assert (processor.size["shortest_edge"], processor.size["longest_edge"]) == BOUNDS
        assert open_hf(back).info["image_pixels"] == list(BOUNDS)


def test_what_transformers_saves_is_read(published, tmp_path):
    """Its own layout on its own, and nested in processor_config.json, which it prefers."""
    config = open_hf(published).config
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": BOUNDS.least, "longest_edge": BOUNDS.most})
    processor.save_pretrained(tmp_path)
    assert read_preprocessor(tmp_path, config) == BOUNDS
    nested = {"image_processor": json.loads((published / FILE).read_text()), "processor_class": "Qwen2_5_VLProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert read_preprocessor(tmp_path, config) == PUBLISHED
    theirs = AutoImageProcessor.from_pretrained(tmp_path, backend="pil").size
    assert (theirs["shortest_edge"], theirs["longest_edge"]) == PUBLISHED


def test_without_a_file_bounds_are_the_published_ones(tmp_path, published):
    assert read_preprocessor(tmp_path, open_hf(published).config) == PUBLISHED


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("image_mean", [0.5, 0.5, 0.5], r"image_mean is \[0.5, 0.5, 0.5\]; this model computes only 0.48"),
        ("image_std", [0.26862954, 0.26130258], "image_std is"),
        ("rescale_factor", 1.0, "rescale_factor is 1.0"),
        ("patch_size", 16, "patch_size is 16; this model computes only 14"),
        ("resample", 2, "resample is 2"),
        ("do_resize", False, "do_resize is False"),
        ("max_pixels", 100, "photographs of 3136 to 100 pixels cannot be"),
        ("max_pixels", "many", "photographs of 3136 to 'many' pixels cannot be"),
    ],
)
def test_pixels_this_model_does_not_compute_are_an_input_error(published, tmp_path, name, value, told):
    directory = rewritten(published, tmp_path, lambda values: values.update({name: value}))
    with pytest.raises(InputError, match=rf"{FILE}: {told}"):
        open_hf(directory)


def test_a_damaged_file_is_an_input_error(published, tmp_path):
    directory = rewritten(published, tmp_path, lambda values: None)
    (directory / FILE).write_text("{")
    with pytest.raises(InputError, match=f"{FILE} cannot be read as JSON"):
        open_hf(directory)


@pytest.mark.parametrize(
    "values",
    [
        {"max_pixels": -1}, {"max_pixels": 0}, {"max_pixels": 1e30}, {"max_pixels": 10**400}, {"max_pixels": "784"},
        {"max_pixels": True}, {"min_pixels": float("nan")}, {"min_pixels": [1]}, {"max_pixels": 1, "min_pixels": 2},
        {"size": 448}, {"size": ["shortest_edge"]}, {"size": {"shortest_edge": {}}, "max_pixels": 784},
        {"image_mean": None}, {"image_mean": ["a", "b", "c"]}, {"image_std": [10**400] * 3}, {"rescale_factor": {}},
        {"patch_size": [14]}, {"resample": "cubic"}, [],
    ],
)  # fmt: skip
@pytest.mark.parametrize("nested", [False, True])
def test_a_preprocessor_that_makes_no_sense_is_one_line(values, nested, tmp_path):
    name = "processor_config.json" if nested else FILE
    (tmp_path / name).write_text(json.dumps({"image_processor": values} if nested else values))
    with pytest.raises(InputError, match=name):
        read_preprocessor(tmp_path, PRESETS["tiny"])


@pytest.mark.parametrize("text", ["", "[" * 100_000, "\udcff"])
def test_a_preprocessor_that_is_no_json_is_one_line(text, tmp_path):
    (tmp_path / FILE).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=FILE):
        read_preprocessor(tmp_path, PRESETS["tiny"])


@pytest.mark.parametrize(
    "named", [None, 5, [784], [784, 1, 2], ["a", "b"], [0, 784], [784, 1], [1.5, 784], {"least": 1}]
)
def test_bounds_in_a_models_files_that_make_no_sense_are_one_line(named):
    with pytest.raises(InputError, match="image_pixels in the model's files"):
        pixel_bounds_of({"image_pixels": named})

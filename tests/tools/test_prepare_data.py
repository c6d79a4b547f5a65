"""tools/prepare_data.py: what goes in comes out, whole or not at all, and faults of the input are one line."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from iadgpt_jax.data.images import pixel_hash, resize_mask, resize_square
from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.sources.folder import FolderSource
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.errors import InputError
from tests.data.photographs import draw_dataset
from tools import prepare_data

TOOL = Path(__file__).resolve().parents[2] / "tools/prepare_data.py"


def prepare(source, out, *more):
    prepare_data.main(["--dataset=folder", f"--source={source}", f"--out={out}", "--processes=1", *more])


@pytest.fixture
def dataset(tmp_path):
    return draw_dataset(tmp_path / "parts")


def fails(capsys, says, *arguments):
    with pytest.raises(SystemExit) as exit_:
        prepare(*arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and says in error


@pytest.mark.parametrize("side", [0, 56])
def test_a_prepared_dataset_equals_its_folder(dataset, tmp_path, side):
    prepare(dataset, tmp_path / "out", f"--side={side}")
    folder, prepared = FolderSource(dataset, side=side or None), open_source(str(tmp_path / "out"), side=None)
    assert isinstance(prepared, PreparedSource) and prepared.name == "out"
    there = {sample.key: sample for sample in map(prepared.__getitem__, range(len(prepared)))}
    assert len(prepared) == len(there) == len(folder)
    for index, record in enumerate(folder.records):
        theirs = folder[index]
        ours = there[theirs.key]
        assert prepared.records[prepared.keys.index(theirs.key)] == record
        np.testing.assert_array_equal(ours.image, theirs.image)
        if theirs.mask is None:
            assert ours.mask is None
        else:
            np.testing.assert_array_equal(ours.mask, theirs.mask)
        assert (ours.key, ours.defect, ours.category, ours.split) == (
            theirs.key,
            theirs.defect,
            theirs.category,
            theirs.split,
        )


def test_hashes_are_those_of_the_original_pixels(dataset, tmp_path):
    prepare(dataset, tmp_path / "out", "--side=56")
    prepared, folder = PreparedSource(tmp_path / "out"), FolderSource(dataset)
    expected = {folder[index].key: pixel_hash(folder[index].image) for index in range(len(folder))}
    assert {key: bytes(one).hex() for key, one in zip(prepared.keys, prepared.sha256, strict=True)} == expected


def test_a_jpeg_of_the_right_size_travels_unchanged(dataset, tmp_path):
    data = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    for path in (dataset / "bolt").rglob("*.png"):
        path.unlink()
    Image.fromarray(data).save(dataset / "bolt/train/good/a.jpg", quality=80)
    prepare(dataset, tmp_path / "out", "--side=56", "--categories=bolt")
    builder = tfds.builder_from_directory(tmp_path / "out")
    stored = builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})[0]["image"]
    assert stored == (dataset / "bolt/train/good/a.jpg").read_bytes()
    image = PreparedSource(tmp_path / "out")[0].image
    np.testing.assert_array_equal(image, np.asarray(Image.open(dataset / "bolt/train/good/a.jpg")))


def test_side_categories_and_split_restrict_a_prepared_dataset(dataset, tmp_path):
    prepare(dataset, tmp_path / "out", "--side=0")
    source = PreparedSource(tmp_path / "out", side=28, categories=["nut"], split="test")
    assert {(r.category, r.split) for r in source.records} == {("nut", "test")}
    original = FolderSource(dataset, categories=["nut"], split="test")[0].image
    np.testing.assert_array_equal(source[0].image, resize_square(original, 28))
    with pytest.raises(InputError, match="no category screw"):
        PreparedSource(tmp_path / "out", categories=["screw"])
    source[1]
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[1].image, source[1].image)


def test_unmasked_defects_are_counted(dataset, tmp_path, capsys):
    prepare(dataset, tmp_path / "out")
    captured = capsys.readouterr()
    assert "warning: 2 defective images have no mask" in captured.err
    assert "preparing 2/2 shards" in captured.err and "16 images" in captured.out
    assert "bolt/test/bent_pin: defective: bent pin, 3 images" in captured.out
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (report["records"], report["without_mask"], report["expected"]) == (16, 2, None)


def test_faults_of_the_input_are_one_line(dataset, tmp_path, capsys):
    fails(capsys, "no such folder", tmp_path / "nowhere", tmp_path / "out")
    fails(capsys, "exists already", dataset, dataset)
    fails(capsys, "cannot write", dataset, dataset / "bolt/train/good/000.png/out")
    fails(capsys, "no category screw", dataset, tmp_path / "out", "--categories=screw")
    fails(capsys, "--processes=0", dataset, tmp_path / "out", "--processes=0")
    for side in ("4", "30", "-28"):
        fails(capsys, f"--side={side} is not a multiple", dataset, tmp_path / "out", f"--side={side}")
    (tmp_path / "empty").mkdir()
    fails(capsys, "no images in MVTec layout", tmp_path / "empty", tmp_path / "out")


def test_an_unreadable_image_is_named_and_the_rest_is_prepared(dataset, tmp_path, capsys):
    (dataset / "nut/test/good/001.png").write_text("not an image")
    prepare(dataset, tmp_path / "out")
    assert "nut/test/good/001.png: nut/test/good/001.png is not an image" in capsys.readouterr().err
    assert len(PreparedSource(tmp_path / "out")) == 15
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "parts"]


def test_nothing_but_unreadable_images_is_one_line(dataset, tmp_path, capsys):
    for path in dataset.rglob("*/*/*/*.png"):
        path.write_text("not an image")
    fails(capsys, "can be read", dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_index_that_does_not_match_is_noticed(dataset, tmp_path):
    prepare(dataset, tmp_path / "out")
    keys = np.load(tmp_path / "out/index/keys.npy")
    np.save(tmp_path / "out/index/keys.npy", keys[::-1])
    (tmp_path / "out/digests.json").unlink()  # as a dataset has none that was prepared before there were any
    with pytest.raises(InputError, match="does not match"):
        PreparedSource(tmp_path / "out")[0]


def test_a_dataset_of_an_older_version_is_to_be_prepared_again(dataset, tmp_path):
    prepare(dataset, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/index")
    (tmp_path / "out/records.json").write_text("{}")
    with pytest.raises(InputError, match="run tools/prepare_data.py again"):
        open_source(str(tmp_path / "out"), side=None)


def test_the_command_needs_neither_tensorflow_nor_jax(dataset, tmp_path):
    code = (
        "import sys; from tools.prepare_data import main; main(sys.argv[1:])\n"
        "from iadgpt_jax.data.sources.prepared import PreparedSource as P; P(sys.argv[-1].split('=')[1])[0]\n"
        "sys.exit(3 if {'tensorflow', 'jax'} & set(sys.modules) else 0)"
    )
    flags = ["--dataset=folder", f"--source={dataset}", "--processes=1", f"--out={tmp_path / 'out'}"]
    run = subprocess.run([sys.executable, "-c", code, *flags], cwd=TOOL.parents[1], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()


def test_it_runs_from_any_folder_and_help_names_the_layout(tmp_path):
    run = subprocess.run([sys.executable, TOOL, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0 and "ground_truth/<defect>" in run.stdout


def test_tfds_itself_reads_the_same(dataset, tmp_path):
    prepare(dataset, tmp_path / "out", "--side=56")
    ours = PreparedSource(tmp_path / "out", split="test")
    theirs = tfds.builder_from_directory(tmp_path / "out").as_data_source(split="test")
    assert len(theirs) == len(ours) == 10
    for index, record in enumerate(ours.records):
        example = theirs[index]
        assert example["key"].decode() == ours[index].key
        np.testing.assert_array_equal(example["image"], ours[index].image)
        assert example["label"] == record.defective and example["has_mask"] == (ours[index].mask is not None)
        if ours[index].mask is not None:
            whole = example["mask"][..., 0] // 255  # masks are stored at the photograph's full size
            np.testing.assert_array_equal(resize_mask(whole, (56, 56), "max_pool"), ours[index].mask)


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--dataset=nope", "invalid choice: 'nope'"),
        ("--side=x", "invalid int value"),
        ("--side=1120000", "--side=1120000 is more than 8944"),
        ("--source=" + "x" * 5000, "no such folder"),
        ("--out=/", "exists already"),
    ],
)
def test_flags_that_make_no_sense_are_one_line(flag, says, dataset, tmp_path, capsys):
    fails(capsys, says, dataset, tmp_path / "out", flag)


def test_words_nested_without_end_are_one_line(dataset, tmp_path, capsys):
    (dataset / "words.jsonl").write_text("[" * 100_000)
    fails(capsys, "is not JSON", dataset, tmp_path / "out")

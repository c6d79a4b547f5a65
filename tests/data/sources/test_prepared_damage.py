"""A prepared dataset with a flipped bit gives one line or the record as it was, never another one."""

import random
import shutil

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.errors import InputError
from tests.data.sources import trees
from tools.reliability.damaging import flip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree") / "parts"
    trees.draw("folder", root)
    return root


@pytest.fixture(scope="module")
def prepared(source):
    prepare(Request("folder", source, source.with_name("out")), say=lambda line: None)
    return source.with_name("out")


def contents(directory):
    found = PreparedSource(directory)
    return [(sample.key, sample.image, sample.mask, sample.defective, sample.captions) for sample in found], list(
        found.records
    )


def test_a_flipped_bit_is_one_line_or_harmless(prepared, tmp_path):
    """200 places, in shards, index and descriptions."""
    directory = shutil.copytree(prepared, tmp_path / "out")
    true, records = contents(directory)
    files = [path for path in directory.rglob("*") if path.is_file() and path.name not in ("report.json", "sheet.jpg")]
    rng, refused = random.Random(0), 0
    for _ in range(200):
        path = rng.choice(files)
        data = path.read_bytes()
        bit = rng.randrange(8 * len(data))
        flip(path, bit)
        try:
            found, listed = contents(directory)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert listed == records, path
            for one, other in zip(found, true, strict=True):
                for a, b in zip(one, other, strict=True):
                    np.testing.assert_array_equal(a, b, err_msg=str(path))
        path.write_bytes(data)
    assert refused > 100


def test_what_is_odd_about_images_that_are_kept_is_counted(source, tmp_path):
    root = shutil.copytree(source, tmp_path / "parts")
    images = sorted(path for path in root.rglob("*.png") if "good" in path.parts)[:2]
    for path in images:
        Image.fromarray(np.full((trees.HIGH, trees.WIDE), 4000, np.uint16)).save(path)
    report = prepare(Request("folder", root, tmp_path / "out"), say=lambda line: None)
    (remark,) = report.values["remarks"]
    assert remark["count"] == 2 and "16-bit" in remark["what"]
    assert remark["first"] in [path.relative_to(root).as_posix() for path in images]
    assert any("2 image files: each is 16-bit" in line for line in report.warnings())

"""A record that cannot be decoded is named, counted and replaced by another of its kind; too many end the run."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.stage3 import get_config
from iadgpt_jax.data.loader import open_batches
from iadgpt_jax.data.run_sources import only
from iadgpt_jax.data.sources.folder import FolderSource
from iadgpt_jax.data.sources.quarantine import Quarantine, QuarantineLimit, replaced_in
from iadgpt_jax.errors import InputError
from tests.data.numbered import Numbered, number
from tests.data.photographs import draw_dataset
from tests.small_iadgpt import small_encoder


class Broken(Numbered):
    """Some of the images cannot be decoded."""

    def __init__(self, broken, **options):
        super().__init__(**options)
        self.broken = set(broken)

    def __getitem__(self, index):
        if index in self.broken:
            raise InputError(f"cannot decode {index}.jpg: image file is truncated")
        return super().__getitem__(index)


def test_a_broken_record_is_replaced_by_the_next_of_its_kind():
    """Of 8 good and 4 defective images of each category; after the last one comes the first."""
    source = Quarantine(Broken({2, 7, 11, 12, 13}))
    assert [int(source[i].key) for i in (2, 7, 11, 12, 13)] == [3, 0, 8, 14, 14]
    assert all(source[i].defective == source.records[i].defective for i in range(len(source)))
    assert all(source[i].category == source.records[i].category for i in range(len(source)))


def test_what_replaces_it_does_not_hang_on_what_was_read_before():
    forward, backward = Quarantine(Broken({2, 3, 5})), Quarantine(Broken({2, 3, 5}))
    assert [forward[i].key for i in range(8)] == [backward[i].key for i in reversed(range(8))][::-1]


def test_what_was_replaced_is_told_within_its_context():
    source = Quarantine(Broken({2}))
    with replaced_in() as met:
        for index in (1, 2, 2):
            source[index]
    assert met == {"numbered: record 2": ("cannot decode 2.jpg: image file is truncated", 2)}
    source[2]
    assert met["numbered: record 2"][1] == 2


def test_without_any_other_of_its_kind_it_is_an_error():
    with pytest.raises(InputError, match=r"numbered: record 1 .*2?1.jpg.*no other good image of product_0"):
        Quarantine(Broken(range(8)))[1]


def test_more_than_the_share_is_an_error_that_names_them():
    limit = QuarantineLimit(300, 0.01)
    assert limit.add({"a": "x", "b": "y"}) and not limit.add({"a": "x"}) and limit.add({"c": "z"})
    with pytest.raises(InputError, match="4 of 300 records cannot be decoded: a, b, c, d; the first: x"):
        limit.add({"d": "w"})
    assert QuarantineLimit(10, 0.01).most == 1 and QuarantineLimit(10, 0.0).most == 0


def truncate(path: Path) -> None:
    """A JPEG that ends in the middle of its pixels, under the name of the file."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[:2000])


@pytest.fixture
def folder(tmp_path):
    root = draw_dataset(tmp_path / "parts", height=112, width=112)
    truncate(root / "bolt/train/good/001.png")
    return root


def tiny(**changes):
    config = get_config("tiny")
    config.update({"rows": 4, "instances": 6, **changes})
    return config


def batches_of(source, config):
    return open_batches(config, [only(source, config)], small_encoder())


def test_a_truncated_jpeg_ends_no_run(folder, capsys):
    batches = batches_of(FolderSource(folder, side=112), tiny())
    tally = sum((batch.tally.quarantined for batch in batches.iterate(0, 8)), 0)
    assert tally > 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "bolt/train/good/001.png" in line]
    assert len(lines) == 1 and "is replaced by another of its kind" in lines[0], "each record once"


def test_where_none_may_be_broken_it_does(folder):
    with pytest.raises(InputError, match=r"1 of 16 records .*bolt/train/good/001.png.*config.max_quarantined=0"):
        list(batches_of(FolderSource(folder, side=112), tiny(max_quarantined=0.0)).iterate(0, 8))


def test_batches_show_the_replacement():
    config = tiny(augment={"flips": False, "colours": False}, max_quarantined=1.0)
    broken, whole = (batches_of(Broken(indices, categories=2), config) for indices in ({0, 13}, ()))
    for part in range(len(broken.parts)):
        for index in range(6):
            one, other = broken.streams[part][index], whole.streams[part][index]
            for got, meant in zip(one.shared, other.shared, strict=True):
                assert number(got) == {0: 1, 13: 14}.get(number(meant), number(meant))

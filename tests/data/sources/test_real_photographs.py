"""Real photographs go through the readers as they lie: a folder, MVTec AD, and KolektorSDD in its own layout."""

import shutil

import numpy as np
from PIL import Image

from iadgpt_jax.data.images import pixel_hash, read_image, read_mask
from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.sources.prepared import PreparedSource


def prepared(name, source, out, **options):
    report = prepare(Request(name, source, out, **options), say=lambda line: None)
    return PreparedSource(out), report.values


def test_a_folder_of_real_photographs(shared_dir, tmp_path):
    root = shared_dir / "data/real_iad_mini"
    source, values = prepared("folder", root, tmp_path / "out", categories=("cookie",))
    assert (values["records"], values["left_out"], values["without_mask"]) == (77, [], 0)
    assert values["categories"]["cookie"] == {"train": {"good": 22}, "test": {"good": 23, "defective": 32}}
    index = [record.defective for record in source.records].index(True)
    sample = source[index]
    original = root / sample.key
    np.testing.assert_array_equal(sample.image, read_image(original))
    own = root / "cookie/ground_truth/broken" / f"{original.stem}_mask.png"
    np.testing.assert_array_equal(sample.mask, read_mask(own))
    assert bytes(source.sha256[index]).hex() == pixel_hash(sample.image)


def test_four_categories_of_mvtec_ad(shared_dir, tmp_path):
    root = shared_dir / "data/mvtec_part"
    source, values = prepared("mvtec_ad", root, tmp_path / "out", categories=("metal_nut", "hazelnut"), side=112)
    assert values["expected"] is None  # only a part was asked for
    verdicts = values["categories"]["metal_nut"]
    assert verdicts == {"train": {"good": 112}, "test": {"good": 8, "defective": 56}}
    assert values["without_mask"] == 48  # of metal_nut, eight masks of 56 are at hand
    assert len([item for item in values["left_out"] if "has no mask" in item["why"]]) == 48
    masked = [i for i, record in enumerate(source.records) if record.defective and record.masked]
    assert all(source[i].mask.any() and source[i].image.shape == (112, 112, 3) for i in masked[:4])


def test_kolektor_sdd_in_its_own_layout(shared_dir, tmp_path):
    """Commutators of KolektorSDD, laid out again as they were published: a label image beside every photograph."""
    root, tree = shared_dir / "data/real_iad_mini/commutator", tmp_path / "kolektor"
    photographs = sorted((root / "test/good").iterdir())[:6] + sorted((root / "test/crack").iterdir())[:6]
    for number, photograph in enumerate(photographs):
        folder = tree / f"kos{number // 4 + 1:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photograph, folder / f"Part{number % 4}{photograph.suffix}")
        own = root / "ground_truth/crack" / f"{photograph.stem}_mask.png"
        crack = photograph.parent.name == "crack"
        pixels = Image.open(own).convert("L") if crack else Image.new("L", Image.open(photograph).size)
        pixels.save(folder / f"Part{number % 4}_label.bmp")
    source, values = prepared("kolektor_sdd", tree, tmp_path / "out")
    assert values["categories"]["commutator"]["train"] == {"good": 6, "defective": 6} and values["left_out"] == []
    assert values["expected"] == 399
    for index, record in enumerate(source.records):
        assert bool(source[index].mask.any()) == record.defective

"""Every published layout is read, and a damaged tree is read as far as it goes; every file left out is told of."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from iadgpt_jax.data.sources.datasets import DATASETS, Dataset
from iadgpt_jax.data.sources.entry import Entry
from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.data.sources.report import Report
from tests.data.sources import trees

MASKED = [name for name in trees.TREES if name not in ("anomaly_instruct", "visa_dr")]
DECIDED_BY_MASK = ("kolektor_sdd", "kolektor_sdd2")
LISTED = ("visa", "real_iad", "mmad", "anomaly_instruct", "visa_dr")  # an index names the images


@pytest.fixture
def out(tmp_path, monkeypatch):
    """Where a dataset goes. Without its picture sheet, which half of the time would go into."""
    monkeypatch.setattr("iadgpt_jax.data.sources.prepare.draw_sheet", lambda directory: b"")
    return tmp_path / "out"


def prepared(name: str, root: Path, out: Path) -> tuple[PreparedSource, dict]:
    report = prepare(Request(name, root, out), say=lambda line: None)
    assert json.loads((out / "report.json").read_text()) == report.values
    return PreparedSource(out), report.values


def told(source: PreparedSource) -> dict[str, trees.Told]:
    found = {}
    for key, record in zip(source.keys, source.records, strict=True):
        kind = {None: "", False: None, True: record.kind}[record.defective]
        found[key] = trees.Told(record.category, record.split, kind, record.masked, record.viewpoint, record.exchanges)
    return found


def without(records: dict[str, trees.Told], *parts: str) -> dict[str, trees.Told]:
    return {key: one for key, one in records.items() if not any(part in key for part in parts)}


def test_the_table_names_every_dataset_and_what_it_asks_for():
    assert set(trees.TREES) == set(DATASETS)
    for name, dataset in DATASETS.items():
        assert dataset.licence and (name == "folder" or (dataset.citation and dataset.page.startswith("http")))


def test_the_page_about_data_shows_the_table():
    page = (Path(__file__).resolve().parents[3] / "docs/data.md").read_text()
    for name, dataset in DATASETS.items():
        counts = ", ".join(f"{split} {count:,}".strip() for split, count in dataset.counts.items())
        note = f" ({dataset.note})" if dataset.note else ""
        assert name == "folder" or f"| {name} | {counts or '–'}{note} | {dataset.licence} | <{dataset.page}> |" in page


@pytest.mark.parametrize("name", trees.TREES)
def test_a_tree_in_the_published_layout_is_read(name, tmp_path, out):
    drawn = trees.draw(name, tmp_path / "tree")
    source, values = prepared(name, tmp_path / "tree", out)
    assert told(source) == drawn.records
    assert values["records"] == len(drawn.records)
    assert values["expected"] == DATASETS[name].total
    assert values["left_out_files"] == drawn.ignored
    for index in range(len(source)):
        sample = source[index]
        assert sample.image.shape == (trees.HIGH, trees.WIDE, 3)
        if sample.defective and sample.mask is not None:
            assert sample.mask.any() and not sample.mask.all()
        assert (sample.mask is not None) == source.records[index].masked


@pytest.mark.parametrize("name", trees.TREES)
def test_a_truncated_image_is_left_out(name, tmp_path, out):
    root = tmp_path / "tree"
    drawn = trees.draw(name, root)
    (root / drawn.good).write_bytes((root / drawn.good).read_bytes()[:60])
    source, values = prepared(name, root, out)
    assert told(source) == without(drawn.records, _tail(drawn.good))
    assert any(item["path"] == drawn.good for item in values["left_out"])


@pytest.mark.parametrize("name", trees.TREES)
def test_a_file_that_is_no_image_is_left_out(name, tmp_path, out):
    root = tmp_path / "tree"
    drawn = trees.draw(name, root)
    (root / drawn.bad).write_text("not an image")
    source, values = prepared(name, root, out)
    assert told(source) == without(drawn.records, _tail(drawn.bad))
    why = [item["why"] for item in values["left_out"] if item["path"] == drawn.bad]
    assert why and all("is not an image" in reason for reason in why)


@pytest.mark.parametrize("name", trees.TREES)
def test_a_missing_image_is_told_of(name, tmp_path, out):
    root = tmp_path / "tree"
    drawn = trees.draw(name, root)
    (root / drawn.bad).unlink()
    source, values = prepared(name, root, out)
    assert told(source) == without(drawn.records, _tail(drawn.bad))
    told_of = json.dumps(values["left_out"])
    if name in LISTED:
        assert "no such" in told_of
    elif name != "eyecandies":  # there a mask without an image looks like one of a good part
        assert drawn.mask in told_of


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_of_another_size_is_left_out(name, tmp_path, out):
    root = tmp_path / "tree"
    drawn = trees.draw(name, root)
    trees.mask(root / drawn.mask, high=20, wide=20)
    source, values = prepared(name, root, out)
    found = told(source)
    if name in DECIDED_BY_MASK:  # then nobody knows whether it is good
        assert drawn.key_of_bad not in found
        assert [item["path"] for item in values["left_out"]] == [drawn.bad, drawn.mask]
    elif name == "mvtec_loco":  # the other mask is still one
        assert found == drawn.records
    else:
        assert not found[drawn.key_of_bad].masked and values["without_mask"] == 1
    assert any("is 20x20 but its image" in item["why"] for item in values["left_out"])


@pytest.mark.parametrize("name", MASKED)
def test_a_missing_mask_is_told_of(name, tmp_path, out):
    root = tmp_path / "tree"
    drawn = trees.draw(name, root)
    (root / drawn.mask).unlink()
    source, values = prepared(name, root, out)
    found = told(source)
    if name in DECIDED_BY_MASK:
        assert drawn.key_of_bad not in found
    elif name == "mvtec_loco":  # nothing says that there were two
        assert found == drawn.records
        return
    elif name == "dagm":  # and here nothing says that it was defective
        assert found[drawn.key_of_bad].kind is None
        return
    else:
        assert not found[drawn.key_of_bad].masked and values["without_mask"] == 1
    assert any(item["path"] in (drawn.mask, drawn.bad) and "mask" in item["why"] for item in values["left_out"])


@pytest.mark.parametrize("name", [name for name in MASKED if name not in DECIDED_BY_MASK])
def test_an_all_black_mask_is_none(name, tmp_path, out):
    root = tmp_path / "tree"
    drawn = trees.draw(name, root)
    trees.mask(root / drawn.mask, value=0)
    if name == "mvtec_loco":
        trees.mask(root / drawn.mask.replace("001.png", "000.png"), value=0)
    source, values = prepared(name, root, out)
    assert not told(source)[drawn.key_of_bad].masked and values["without_mask"] == 1
    assert source[list(source.keys).index(drawn.key_of_bad)].mask is None
    assert any("all-black" in item["why"] for item in values["left_out"])


@pytest.mark.parametrize("name", trees.TREES)
def test_stray_files_are_told_of_and_nothing_else_changes(name, tmp_path, out):
    root = tmp_path / "tree"
    drawn = trees.draw(name, root)
    trees.image(root / "somewhere/else/copy.png")
    (root / "readme.txt").write_text("hello")
    (root / ".DS_Store").write_text("")
    source, values = prepared(name, root, out)
    assert told(source) == drawn.records
    left_out = {item["path"] for item in values["left_out"]}
    assert {"somewhere/else/copy.png", "readme.txt", ".DS_Store"} <= left_out
    assert values["left_out_files"] == drawn.ignored + 3


@pytest.mark.parametrize(
    ("name", "path", "change", "says"),
    [
        ("visa", "split_csv/1cls.csv", lambda text: text + "candle,later,normal,x.JPG,\n", "not a row of object"),
        ("visa", "split_csv/1cls.csv", lambda text: text + text.splitlines()[1] + "\n", "of this name already"),
        ("real_iad", "realiad_jsons/usb.json", lambda text: text.replace('y": "usb"', 'y": 3', 1), "not an item"),
        ("real_iad", "realiad_jsons/other.json", lambda text: "{", "not JSON"),
        ("anomaly_instruct", "web.json", lambda text: text.replace("A phone.", "", 1), "turn 1 is not a answer"),
        ("anomaly_instruct", "web.json", lambda text: text.replace("What is", "<image><image><image>", 1), "3 marks"),
        ("anomaly_instruct", "broken.json", lambda text: "[{", "not JSON"),
        ("visa_dr", "VisA/visa_dr.json", lambda text: text.replace('"Yes.", ', "", 1), "another number of answers"),
        ("visa_dr", "VisA/test_data.json", lambda text: text.replace("true", '"perhaps"', 1), "neither true nor false"),
        ("mmad", "mmad.json", lambda text: text.replace('"Answer": "A"', '"Answer": "C"', 1), "none of its options"),
        ("mmad", "mmad.json", lambda text: text.replace("good/001.png", "good/009.png"), "no such template"),
    ],
)  # fmt: skip
def test_a_damaged_index_costs_what_it_says(name, path, change, says, tmp_path, out):
    root = tmp_path / "tree"
    drawn = trees.draw(name, root)
    before = (root / path).read_text() if (root / path).is_file() else ""
    (root / path).write_text(change(before))
    source, values = prepared(name, root, out)
    assert set(told(source)) <= set(drawn.records) and len(source) >= len(drawn.records) - 1
    assert any(says in item["why"] for item in values["left_out"]), values["left_out"]


def test_several_masks_of_one_image_are_united(tmp_path, out):
    trees.draw("mvtec_loco", tmp_path / "tree")
    source, _ = prepared("mvtec_loco", tmp_path / "tree", out)
    found = source[list(source.keys).index("pushpins/test/logical_anomalies/000.png")].mask
    expected = np.zeros((trees.HIGH, trees.WIDE), np.uint8)
    expected[0:2, 3:8] = 1
    np.testing.assert_array_equal(found, expected)


def test_conversations_keep_images_questions_and_options(tmp_path, out):
    trees.draw("mmad", tmp_path / "mmad")
    source, _ = prepared("mmad", tmp_path / "mmad", out)
    sample = source[list(source.keys).index("DS-MVTec/bottle/image/broken_large/000.png")]
    first, second = sample.exchanges
    assert first.question == "<image>\nIs there any defect in the object?" and "<image>" not in second.question
    assert (first.answer, first.options, first.type) == ("A", ("A: Yes.", "B: No."), "Anomaly Detection")
    assert sample.references == tuple(f"MVTec-AD/bottle/train/good/{n:03d}.png" for n in range(2))
    assert sample.random_references == sample.references[::-1]
    assert set(sample.references) <= set(source.keys)


def test_a_conversation_about_several_images_holds_them_all(tmp_path, out):
    trees.draw("anomaly_instruct", tmp_path / "tree")
    source, _ = prepared("anomaly_instruct", tmp_path / "tree", out)
    (key,) = (key for key in source.keys if "+" in key)
    assert key.startswith("web/phone/1_0.jpg+") and key.endswith("#web-1")
    sample = source[list(source.keys).index(key)]
    assert len(sample.more_images) == 1 and sample.exchanges[0].question.startswith("<image><image>\n")
    assert sample.more_images[0].shape == sample.image.shape and (sample.more_images[0] != sample.image).any()


def test_cameras_pair_references_with_queries(tmp_path, out):
    trees.draw("real_iad", tmp_path / "tree")
    source, _ = prepared("real_iad", tmp_path / "tree", out)
    good = {record.viewpoint for record in source.records if record.split == "train"}
    assert good == {record.viewpoint for record in source.records if record.defective} == {"C1", "C2"}
    assert source[0].viewpoint == source.records[0].viewpoint == "C1"


def _tail(path: str) -> str:
    """What the keys of an image have in common with its path."""
    return path.removeprefix("realiad_512/")


def test_a_new_dataset_is_a_reader_and_a_line(tmp_path, out, monkeypatch):
    def read(tree):  # as docs/data.md has it
        tree.take("parts.csv")
        for row in csv.DictReader(tree.path("parts.csv").open()):
            yield Entry(row["file"], row["file"], row["part"], row["split"], row["defect"] or None)

    trees.image(tmp_path / "parts/a.png")
    trees.image(tmp_path / "parts/b.png")
    (tmp_path / "parts/parts.csv").write_text("file,part,split,defect\na.png,bolt,train,\nb.png,bolt,test,rust\n")
    monkeypatch.setitem(DATASETS, "parts_csv", Dataset(read, "ours", "me", {"train": 1, "test": 2}))
    source, values = prepared("parts_csv", tmp_path / "parts", out)
    assert [record.kind for record in source.records] == ["", "rust"] and source.records[1].defective
    assert (values["records"], values["expected"]) == (2, 3)
    assert list(Report(values).warnings())[0] == "test: 1 images, the publication counts 2"

"""References by name: the lists of MVTec-AD and VisA, the datasets they fit, and what is said where they do not."""

from __future__ import annotations

import json

import pytest

from iadgpt_jax.data.sources.datasets import DATASETS
from iadgpt_jax.data.sources.sample import Record
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.evaluation import Asked, plan_evaluation
from iadgpt_jax.evaluate.reference_list import FOLDER, checked_in, find_list, read_list
from tools import reference_lists

COUNTS = {
    "bottle": 209, "cable": 224, "capsule": 219, "carpet": 280, "grid": 264, "hazelnut": 391, "leather": 245,
    "metal_nut": 220, "pill": 267, "screw": 320, "tile": 230, "toothbrush": 60, "transistor": 213, "wood": 247,
    "zipper": 240,
}  # fmt: skip
MVTEC = {name: [f"{name}/train/good/{i:03d}.png" for i in range(count)] for name, count in COUNTS.items()}


class Listed:
    """A source of which nothing but names is known: good training images, and two test images a category."""

    name = "mvtec_ad"

    def __init__(self, keys: dict[str, list[str]]):
        rows = [(Record(name, "train", False), key) for name, found in keys.items() for key in found]
        rows += [(Record(name, "test", bad), f"{name}/test/{bad}/0.png") for name in keys for bad in (True, False)]
        self.records, self.keys = zip(*rows, strict=True)


@pytest.mark.parametrize("name", ["mvtec_ad", "visa"])
def test_every_draw_names_different_published_images_of_every_category(name):
    listed = read_list(name)
    assert sum(listed.published.values()) == DATASETS[name].counts["train"] and len(listed.draws) >= 5
    for draw in listed.draws:
        assert set(draw) == set(listed.published)
        for category, keys in draw.items():
            assert len(set(keys)) == len(keys) >= 4 and all(key.startswith(f"{category}/") for key in keys)
    for category in listed.published:
        assert len({draw[category] for draw in listed.draws}) == len(listed.draws)


def test_the_list_of_mvtec_ad_is_what_its_tool_makes_of_the_published_names(tmp_path, capsys):
    files = tmp_path / "files.txt"
    names = [f"mvtec/{key}" for keys in MVTEC.values() for key in keys]
    files.write_text("\n".join([*names, "mvtec/bottle/test/good/000.png"]))
    source = json.loads((FOLDER / "mvtec_ad.json").read_text())["files"]
    flags = ["--dataset=mvtec_ad", f"--files={files}", f"--out={tmp_path / 'list.json'}"]
    reference_lists.main([*flags, f"--source={source}"])
    assert (tmp_path / "list.json").read_bytes() == (FOLDER / "mvtec_ad.json").read_bytes()
    files.write_text("bottle/train/good/000.png\n")
    with pytest.raises(SystemExit):
        reference_lists.main(flags)
    assert "names 1 good training images, MVTec-AD has 3629" in capsys.readouterr().err


def test_the_tool_reads_the_published_split_of_visa():
    rows = "object,split,label,image,mask\nfryum,train,normal,fryum/b.JPG,\nfryum,train,normal,fryum/a.JPG,\n"
    rows += "fryum,test,normal,fryum/c.JPG,\nfryum,test,anomaly,fryum/d.JPG,fryum/d.png\n"
    assert reference_lists.training_keys(rows) == {"fryum": ["fryum/a.JPG", "fryum/b.JPG"]}


def test_the_published_dataset_is_recognised_and_has_the_list_s_references():
    listed, source = read_list("mvtec_ad"), Listed(MVTEC)
    planned = plan_evaluation("there", source, Asked((1, 2, 4), 5))
    assert planned.listed == listed and planned.note == "references: those of the list mvtec_ad of MVTec-AD"
    for plans, draw in zip(planned.draws, listed.draws, strict=False):
        for plan in plans:
            assert [source.keys[i] for i in plan.references] == list(draw[plan.category][:4])
    some = plan_evaluation("there", source, Asked((1,), 2, categories=("wood",), references="wrong"))
    for plans, draw in zip(some.draws, listed.draws, strict=False):
        assert [source.keys[i] for i in plans[0].references] == list(draw["zipper"][:1]), "of the one that lends"


def test_visa_is_recognised_in_other_folders_of_the_same_file_names():
    listed = read_list("visa")
    named = {key for draw in listed.draws for key in draw["pcb1"]}
    names = [f"pcb1/train/good/{key.rsplit('/', 1)[-1]}" for key in named]
    keys = names + [f"pcb1/train/good/more{i}.JPG" for i in range(listed.published["pcb1"] - len(names))]
    planned = plan_evaluation("there", Listed({"pcb1": keys}), Asked((1, 4), 5))
    assert planned.listed == listed


@pytest.mark.parametrize(
    ("keys", "asked", "told"),
    [
        ({"bottle": MVTEC["bottle"][:100]}, {}, "bottle has 100 good training images, MVTec-AD has 209"),
        ({"wood": [key.replace("/0", "/9") for key in MVTEC["wood"]]}, {}, "wood has no training image 0"),
        (MVTEC, {"seed": 3}, "--seed=3 asks for others"),
        (MVTEC, {"draws": 99}, "the reference list mvtec_ad has 10 draws"),
        (MVTEC, {"shots": (9,)}, "the reference list mvtec_ad has 8 references a draw"),
        ({"bolt": ["bolt/train/good/000.png"] * 2, **MVTEC}, {}, ""),
        (MVTEC, {"reference_list": "none"}, ""),
    ],
)
def test_other_references_are_drawn_and_that_is_said(keys, asked, told):
    planned = plan_evaluation("there", Listed(keys), Asked(**{"shots": (1,), "draws": 2} | asked))
    assert planned.listed is None
    assert told in planned.note if told else planned.note == ""
    if told:
        assert planned.note.startswith("references are drawn, not those of the list mvtec_ad: ")


def test_a_list_that_was_asked_for_must_fit():
    assert checked_in() == ["mvtec_ad", "visa"]
    with pytest.raises(InputError, match="=mvtec_ad does not fit: bottle has 1 good training images"):
        find_list("mvtec_ad", {"bottle": ["bottle/train/good/000.png"]}, 1, 1, 0)
    with pytest.raises(InputError, match="=nothing.json cannot be read"):
        find_list("nothing.json", {}, 1, 1, 0)

"""Made datasets: every tree is in the layout that its reader expects, nothing of it is left out, and it has words."""

from __future__ import annotations

import pytest

from iadgpt_jax.data.sources.prepare import Request, prepare
from iadgpt_jax.data.sources.prepared import PreparedSource
from iadgpt_jax.errors import InputError
from tools.made_datasets import LAYOUTS, main

GOOD = 4  # photographs of a product, and as many defective ones
TWICE = ("real_iad",)  # two cameras photograph every piece
ONE = ("kolektor_sdd", "kolektor_sdd2")  # datasets of one product


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    main([f"--out={out}", "--categories=2", f"--photographs={GOOD}", "--side=64", "--processes=1"])
    return out


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_reader_of_the_layout_takes_all_of_it(name, made, tmp_path, monkeypatch):
    monkeypatch.setattr("iadgpt_jax.data.sources.prepare.draw_sheet", lambda directory: b"")
    report = prepare(Request(name, made / name, tmp_path / "out"), say=lambda line: None).values
    assert [item for item in report["left_out"] if item["why"] != "the empty mask of a good part"] == []
    source = PreparedSource(tmp_path / "out")
    defective = [record for record in source.records if record.defective]
    products, photographs = (1 if name in ONE else 2), (2 if name in TWICE else 1)
    assert len({record.category for record in source.records}) == products
    assert len(source) == products * photographs * 2 * GOOD and len(defective) == len(source) // 2
    if name == "anomaly_instruct":
        assert all(record.exchanges == 2 for record in source.records)
        return
    assert all(record.masked and record.kind for record in defective)
    assert any(record.captioned for record in source.records if not record.defective) or name in ONE
    sample = source[next(i for i, record in enumerate(source.records) if record.defective)]
    assert sample.defect.cause and sample.defect.remedy and sample.mask.any()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--datasets=vsia"], "--datasets=vsia: choose among real_iad"),
        (["--photographs=1"], "at least one category, 4 good"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_drawn(flags, message, tmp_path):
    with pytest.raises(InputError, match=message):
        main.__wrapped__([f"--out={tmp_path / 'out'}", *flags])


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not an empty folder"):
        main.__wrapped__([f"--out={tmp_path}"])

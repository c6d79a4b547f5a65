"""The page and the table of a batch of inspections, whatever the photographs are called and wherever they lie."""

from __future__ import annotations

import csv

from iadgpt_jax.evaluate.inspections_page import PAGE, TABLE, write_inspections


def record(query: str, **more) -> dict:
    return {"query": query, "defective": False, "score": 0.5, "margin": 0.0, "threshold": 0.5, "answer": "No",
            "explanation": "", "map": "m.png", "overlay": "o.png"} | more  # fmt: skip


def written(out, *records) -> tuple[str, list[dict]]:
    write_inspections(out, records, {}, 0.0)
    with (out / TABLE).open(encoding="utf-8") as table:
        return (out / PAGE).read_text(), list(csv.DictReader(table))


def test_absolute_and_relative_names_stand_on_one_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, rows = written(tmp_path / "out", record(str(tmp_path / "deep/a.png")), record("deep/b.png"))
    assert [row["query"] for row in rows] == [str(tmp_path / "deep/a.png"), "deep/b.png"]
    assert ">a.png" in page and ">b.png" in page


def test_a_name_that_is_not_utf8_is_linked_by_its_bytes(tmp_path):
    page, _ = written(tmp_path, record("\udcff.png", overlay=str(tmp_path / "\udcff_overlay.png")))
    assert 'src="%FF_overlay.png"' in page


def test_no_cell_of_the_table_is_computed(tmp_path):
    _, rows = written(tmp_path, record("=cmd.png", explanation="@x", margin=-1.0), record("+a.png", error="-e"))
    assert [(row["query"], row["explanation"], row["margin"], row["error"]) for row in rows] == [
        ("'=cmd.png", "'@x", "-1.0", ""), ("'+a.png", "", "0.0", "'-e"),
    ]  # fmt: skip

"""The headline table holds the results' numbers, controls beneath, in aligned columns."""

import pytest

from iadgpt_jax.evaluate.table import SummaryRow, mean_over_shots, render_table, summary_rows


def measured(image, pixel=None):
    row = {"image_auroc": {"mean": image, "std": 0.004}}
    return row if pixel is None else row | {"pixel_auroc": {"mean": pixel, "std": 0.001}}


RESULTS = {
    "held_out": {"4": measured(0.93, 0.96), "1": measured(0.86, 0.94), "2": measured(0.9, 0.95)},
    "controls": {
        "no_reference": {"1": measured(0.57, 0.83), "4": measured(0.57, 0.83)},
        "untrained": {"1": measured(0.5, 0.58), "4": measured(0.51, 0.58)},
    },
}


def test_rows_by_number_of_references_then_controls():
    rows = summary_rows(RESULTS)
    assert [(row.setting, row.shots, row.control) for row in rows] == [
        ("trained model", 1, False),
        ("trained model", 2, False),
        ("trained model", 4, False),
        ("untrained model", 1, True),
        ("untrained model", 4, True),
        ("no references", 1, True),
        ("no references", 4, True),
    ]
    assert rows[2].image_auroc == {"mean": 0.93, "std": 0.004}
    assert summary_rows({"shots": RESULTS["held_out"]}) == rows[:3]
    with pytest.raises(KeyError):
        summary_rows({})


def test_the_text_is_aligned_and_says_what_was_measured():
    text = render_table(summary_rows(RESULTS))
    lines = text.splitlines()
    assert lines[0].split() == ["image", "AUROC", "pixel", "AUROC"]
    assert lines[2].split() == "trained model, 1 reference 0.860 ± 0.004 0.940 ± 0.001".split()
    assert lines[5].split() == "mean over these 0.897 0.950".split()
    assert [line for line in lines if line.startswith("no references")] == [lines[-1]]  # said once: it has no shots
    assert sum(line.startswith("untrained model,") for line in lines) == 2
    columns = {line.index("±") for line in lines if "±" in line}
    assert len(columns) == 1 and max(map(len, lines)) <= 80
    assert set(lines[1]) == {"─"} and len(lines[1]) == max(map(len, lines))


def test_what_was_not_measured_is_a_dash():
    text = render_table([SummaryRow("trained model", 1, 0.75, None)])
    assert text.splitlines()[-1].split() == "trained model, 1 reference 0.750 –".split()
    assert (
        mean_over_shots(
            summary_rows({"shots": {"1": measured(0.5), "2": measured(0.7)}}), "trained model", "pixel_auroc"
        )
        is None
    )

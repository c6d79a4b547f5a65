"""Published numbers agree with themselves and stand only beside what can be compared with them."""

import numpy as np
import pytest

from iadgpt_jax.data.leakage import BENCHMARKS
from iadgpt_jax.evaluate.published import benchmark_of

MVTEC, VISA = (benchmark_of(name, BENCHMARKS[name]) for name in ("mvtec_ad", "visa"))


@pytest.mark.parametrize("benchmark, name", [(MVTEC, "mvtec_ad"), (VISA, "visa")])
def test_the_paper_s_means_are_those_of_its_categories(benchmark, name):
    """Printed with one decimal, a mean of printed numbers is off by at most .05 of the numbers and .05 of the mean."""
    row = benchmark.rows[0]
    assert benchmark.categories == set(BENCHMARKS[name]) == set(row.categories)
    assert row.method == "IADGPT" and set(row.shots) == {1, 2, 4}
    for k, metrics in row.shots.items():
        for metric, value in metrics.items():
            mean = np.mean([category[k][metric] for category in row.categories.values()])
            assert mean == pytest.approx(value, abs=0.1 + 1e-9)


def test_every_row_says_of_what_it_is_and_where_it_is_said():
    for row in (*MVTEC.rows, *VISA.rows):
        assert row.what and row.source.startswith("arXiv ")
        assert all(50 < value < 100 for metrics in row.shots.values() for value in metrics.values())


def test_a_benchmark_is_known_by_all_its_categories_or_by_its_name_and_some():
    assert benchmark_of("/data/anything", BENCHMARKS["mvtec_ad"]).title == "MVTec-AD"
    assert benchmark_of("../shared/data/mvtec_part", ["Bottle", "metal nut"]).title == "MVTec-AD"
    assert benchmark_of("visa_small", ["pcb1"]).title == "VisA"
    assert benchmark_of("my_factory", ["bottle"]) is None  # a bottle may be anybody's
    assert benchmark_of("mvtec_loco", ["breakfast_box"]) is None
    assert benchmark_of("mvtec_ad", ["bottle", "breakfast_box"]) is None
    assert benchmark_of("mvtec_ad", []) is None


def test_a_part_is_compared_with_the_mean_over_the_same_part():
    part = {"image_auroc": ["bottle", "Metal Nut"], "pixel_auroc": ["bottle"]}  # nobody drew the metal nut's defects
    rows = MVTEC.of(part)
    assert len(rows) == len(MVTEC.rows) + 1 and "2 of 15 categories (pixels: 1)" in rows[0].what
    assert rows[0].shots[1]["image_auroc"] == pytest.approx((98.8 + 98.0) / 2)
    assert rows[0].shots[4]["pixel_auroc"] == pytest.approx(99.0)
    everything = dict.fromkeys(part, BENCHMARKS["mvtec_ad"])
    assert MVTEC.of(everything) == MVTEC.rows
    assert "15 of 15 categories (pixels: 1)" in MVTEC.of(everything | {"pixel_auroc": ["bottle"]})[0].what
    assert set(MVTEC.of({"image_auroc": ["bottle"]})[0].shots[1]) == {"image_auroc"}

"""The report is one file that loads nothing, escapes everything, copes with missing parts and stays small."""

import re

import numpy as np
import pytest

from iadgpt_jax.evaluate import report
from iadgpt_jax.evaluate.charts import COLOURS, Bars, Line, histogram, line_chart, moving_average
from iadgpt_jax.evaluate.gallery import SHOWN, GalleryItem
from iadgpt_jax.evaluate.metrics import roc_curve
from iadgpt_jax.evaluate.report import write_report
from tests.evaluate.html_page import Page

EVIL = '<script>alert("x")</script>&'


def spread(mean, std=0.01):
    return {"mean": mean, "std": std}


def results(name="nut"):
    per_category = {name: {"image_auroc": 0.91, "pixel_auroc": 0.95}, "wood": {"image_auroc": 0.35}}
    return {
        "held_out": {
            k: {"image_auroc": spread(a), "pixel_auroc": spread(p), "per_category": per_category}
            for k, a, p in (("1", 0.85, 0.94), ("2", 0.88, 0.95), ("4", 0.9, 0.96))
        },
        "controls": {
            "untrained": {"4": {"image_auroc": spread(0.5), "pixel_auroc": spread(0.58)}},
            "wrong_reference": {"4": {"image_auroc": spread(0.6), "pixel_auroc": spread(0.8)}},
        },
        "answers": {"count": 10, "parsed": 1.0, "verdict": 0.875, "kind": None, "place": 0.5, "place_within_one": 0.75},
        "wall_seconds": 754.4,
    }


def item(verdict="hit", words="There is a dent.", references=4, size=(60, 90)) -> GalleryItem:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*size, 3), np.uint8)
    mask = np.zeros(size, np.uint8)
    mask[10:20, 30:50] = 1
    return GalleryItem(
        [image] * references, image, mask, rng.random((4, 4)), 0, 1, 0.8, True, words, words, words, verdict
    )


def everything(words: str) -> dict:
    steps = list(range(0, 500, 5))
    curve = [2.0 / (1 + s) for s in steps]
    rng = np.random.default_rng(1)
    labels = rng.random(200) < 0.5
    return dict(
        title=words,
        lede=words,
        results=results(words),
        curves={words: {"step": steps, "loss": curve, words: curve[::-1], "lr": curve}},
        roc={words: (rng.normal(size=200) + labels, labels), "no_reference": (rng.normal(size=200), labels)},
        gallery=[item("hit", words), item("miss", words, references=0)],
        sheet=rng.integers(0, 255, (50, 200, 3), np.uint8),
        sheet_caption=words,
        facts={words: words},
    )


def test_everything_in_one_file_that_loads_nothing(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, **everything("nut"))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    for name, value in page.attributes:
        if name in ("src", "href", "srcset", "data", "action", "poster"):
            assert value.startswith("data:image/")
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(page.tags)
    assert "http:" not in text and "https:" not in text
    assert not re.search(r"@import|url\(", text)
    assert "prefers-color-scheme: dark" in text and "{{" not in text and "{%" not in text
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_it_shows_the_numbers_it_was_given(tmp_path):
    given = everything("nut")
    write_report(tmp_path / "r.html", **given)
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    for shown in (
        "0.850",
        "0.900",
        "0.960",
        "± 0.010",
        "0.877",
        "−0.300",
        "12:34",
        "0.875",
        "references of a wrong product",
    ):
        assert shown in text, shown  # 0.877 is the mean over shots, −0.300 what wrong references cost
    assert "names the kind" not in text  # nothing was graded there
    assert "0.350" in text  # a category below the dot plot's range is still told in digits


def test_every_string_is_escaped(tmp_path):
    write_report(tmp_path / "r.html", **everything(EVIL))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert text.count("&lt;script&gt;") >= 12  # title, lede, category, curve, roc, cards, sheet, facts …
    assert EVIL in page.text


@pytest.mark.parametrize("missing", ["curves", "roc", "gallery", "sheet", "facts", "lede", "sheet_caption"])
def test_sections_without_data_are_left_out(tmp_path, missing):
    given = everything("nut")
    full = tmp_path / "full.html"
    write_report(full, **given)
    del given[missing]
    write_report(tmp_path / "r.html", **given)
    assert 1000 < (tmp_path / "r.html").stat().st_size < full.stat().st_size
    Page((tmp_path / "r.html").read_text(encoding="utf-8"))


def test_results_may_be_partial_or_have_integer_keys(tmp_path):
    write_report(tmp_path / "a.html", title="empty", results={})
    shots = {4: {"image_auroc": 0.9}, 1: {"image_auroc": 0.8}}
    answers = {1: {"verdict": 0.7}, 4: {"verdict": spread(0.9)}}
    write_report(tmp_path / "b.html", title="evaluate", results={"shots": shots, "answers": answers})
    text = Page((tmp_path / "b.html").read_text(encoding="utf-8")).text
    assert "pixel AUROC" not in text and "0.900" in text and "0.850" in text and "0.700" in text


def test_pictures_shrink_before_the_page_grows_too_large(tmp_path, monkeypatch):
    gallery = [item(size=(400, 400)) for _ in range(4)]
    write_report(tmp_path / "large.html", title="t", results=results(), gallery=gallery)
    large = (tmp_path / "large.html").stat().st_size
    monkeypatch.setattr(report, "MAX_BYTES", large // 2)
    write_report(tmp_path / "small.html", title="t", results=results(), gallery=gallery)
    assert (tmp_path / "small.html").stat().st_size <= large // 2
    monkeypatch.setattr(report, "MAX_BYTES", 20_000)
    with pytest.raises(ValueError, match="show fewer"):
        write_report(tmp_path / "none.html", title="t", results=results(), gallery=gallery)
    assert not (tmp_path / "none.html").exists()


def test_long_galleries_fold(tmp_path):
    write_report(tmp_path / "r.html", title="t", results={}, gallery=[item() for _ in range(SHOWN + 3)])
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.tags.count("article") == SHOWN + 3 and "3 more hits" in page.text


def points_of(svg: str, colour: str) -> np.ndarray:
    """The points of the line of this colour, in drawing units."""
    data = re.search(rf'<path d="([^"]*)" style="fill: none; stroke: var\(--{colour}\); stroke-width: 1.7', svg).group(
        1
    )
    return np.array([pair.split() for pair in re.split("[ML]", data)[1:]], float)


def test_a_line_stands_where_its_numbers_say():
    """The drawing is 320 × 210, the axes inside it from (36, 174) to (312, 8)."""
    svg = line_chart(
        [Line("a", np.array([0, 1, 2]), np.array([0.0, np.nan, 20.0]), "c1")],
        x_label="x",
        y_label="y",
        x_range=(0, 2),
        y_range=(0, 10),
    )
    np.testing.assert_allclose(points_of(svg, "c1"), [(36, 174), (312, 8)], atol=0.01)  # cut off at the top; a gap
    assert svg.startswith('<svg viewBox="0 0 320 210"')


def test_a_chart_is_the_same_text_every_time_and_has_only_the_pages_colours():
    x = np.linspace(0, 1, 50)
    lines = [Line(name, x, x**n, name, ("", "dash", "faint")[n % 3]) for n, name in enumerate(COLOURS)]
    one, other = (
        line_chart(lines, x_label="x", y_label="$y$", x_range=(0, 1), y_range=(0, 1), diagonal=True) for _ in range(2)
    )
    assert one == other
    assert set(re.findall(r"(?:stroke|fill): ([^;\"]+)", one)) == {
        "none", "var(--rule)", "var(--soft)", *(f"var(--{name})" for name in COLOURS),
    }  # fmt: skip
    assert not re.search(r"#|url|font|id=|http", one) and 'aria-label="$y$ over x"' in one


def test_drawn_roc_keeps_the_area():
    """matplotlib leaves out points that nobody would see; what stays encloses the same area."""
    rng = np.random.default_rng(0)
    labels = rng.random(5000) < 0.5
    false, true = roc_curve(rng.normal(size=5000) + labels, labels)
    svg = line_chart([Line("", false, true, "c2")], x_label="x", y_label="y", x_range=(0, 1), y_range=(0, 1))
    x, y = points_of(svg, "c2").T
    assert len(x) < len(false)
    assert np.trapezoid((174 - y) / 166, (x - 36) / 276) == pytest.approx(np.trapezoid(true, false), abs=2e-3)


def test_a_histogram_shows_each_kind_as_a_share_of_its_own():
    """Ten times as many of one kind, spread alike, are drawn as high; what is not finite is left out."""
    values = np.tile([0.0, 1.0, 1.0, 2.0], 5)
    parts = [Bars("few", values, "c1"), Bars("many", np.r_[np.tile(values, 10), np.nan, np.inf], "c2")]
    svg = histogram(parts, x_label="margin", mark=1.5, bins=3)
    few, many = points_of(svg, "c1"), points_of(svg, "c2")
    np.testing.assert_allclose(few, many)
    heights = 154 - few[1:-1:2, 1]  # the axes stand at 154 of 190; the highest bar is half of its kind
    np.testing.assert_allclose(heights / heights[1], [0.5, 1, 0.5], atol=1e-3)
    assert 'aria-label="how often, over margin: few, many"' in svg and not re.search(r"#|url|id=|http", svg)
    assert histogram([Bars("none", np.zeros(0), "c1")], x_label="x").startswith("<svg")
    assert histogram([Bars("one", np.ones(3), "c1")], x_label="x").startswith("<svg")


def test_ticks_are_round_and_inside():
    for high, texts in ((1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]), (1700, ["0", "500", "1000", "1500"]),
                        (99_000, ["0", "20k", "40k", "60k", "80k"])):  # fmt: skip
        svg = line_chart([], x_label="x", y_label="y", x_range=(0, 1), y_range=(0, high))
        assert re.findall(r"text-anchor: end[^>]*>([^<]*)<", svg) == texts


def test_moving_average_equals_a_loop_and_skips_gaps():
    values = np.random.default_rng(2).normal(size=40)
    values[7] = np.nan
    naive = [np.nanmean(values[max(i - 2, 0) : i + 3]) for i in range(40)]
    np.testing.assert_allclose(moving_average(values, 5), naive, atol=1e-12)
    np.testing.assert_allclose(moving_average(values, 1), values, atol=1e-12)

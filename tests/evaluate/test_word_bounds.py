"""What stands beside graded answers: constant answers, the map read, and a table of kinds."""

import itertools

import numpy as np
import pytest

from iadgpt_jax.data.place import PLACES, cell
from iadgpt_jax.data.sources.sample import Defect, Sample
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.evaluate.answers import map_reading
from iadgpt_jax.evaluate.asked import grade_pairs
from iadgpt_jax.evaluate.reasoning import Truth, grade_answers
from iadgpt_jax.evaluate.report import write_report
from iadgpt_jax.evaluate.report_answers import answer_table, kind_table, render_answers
from iadgpt_jax.evaluate.scoring import CategoryScores
from iadgpt_jax.evaluate.word_bounds import confusion, constant_grades, map_grades, read_place
from tests.evaluate.html_page import Page

TRUTHS = [
    Truth(True, "scratch", "center"),
    Truth(True, "Broken-Edge", "top left"),
    Truth(True, "broken edge", "top left"),
    Truth(True, None, "bottom right"),
    Truth(False),
    Truth(False),
    Truth(False),
]


def test_the_constant_grades_are_the_best_that_one_answer_to_all_can_get():
    """Held against grading every constant answer there is."""
    found = constant_grades(TRUTHS)
    said = [f"There is a {kind} at the {place}." for kind in ("scratch", "broken edge") for place in PLACES]
    graded = [grade_answers([answer] * len(TRUTHS), TRUTHS) for answer in [*said, "The product is normal."]]
    assert found == {name: max(grades[name] for grades in graded) for name in found}
    assert found == {"verdict": 4 / 7, "kind": 2 / 3, "place": 2 / 4, "place_within_one": 1.0}


def test_of_nothing_known_there_is_no_constant_grade():
    unknown = {"kind": None, "place": None, "place_within_one": None}
    assert constant_grades([Truth(False)]) == {"verdict": 1.0, **unknown}
    assert constant_grades([])["verdict"] is None


@pytest.mark.parametrize("side", [4, 6, 16])
def test_a_map_that_is_hot_in_one_place_reads_as_that_place(side):
    for place in PLACES:
        y, x = (round((third + 0.5) * side / 3 - 0.5) for third in cell(place))
        map_ = np.full((side, side), 0.1)
        map_[y, x] = 0.9
        assert read_place(map_) == place, side
    assert read_place(np.zeros((side, side))) == "center"  # says nothing, and is read all the same


def test_maps_are_graded_where_the_place_is_known():
    corner = np.zeros((4, 4))
    corner[0, 0] = 1
    maps = itertools.repeat(corner, len(TRUTHS))
    assert map_grades(maps, TRUTHS) == {"place": 2 / 4, "place_within_one": 3 / 4}
    assert map_grades([corner], [Truth(False)]) == {"place": None, "place_within_one": None}


def test_the_maps_read_are_those_of_the_products_asked_about():
    def sample(place):
        mask = np.zeros((12, 12), np.uint8)
        y, x = cell(place)
        mask[4 * y + 1 : 4 * y + 3, 4 * x + 1 : 4 * x + 3] = 1
        return Sample(mask, mask, True, "nut", "test", place, defect=Defect("dent", "", ""))

    source = [sample("top left"), sample("right"), sample("bottom")]
    maps = [source[i].mask.reshape(4, 3, 4, 3).mean((1, 3)) for i in (2, 0, 1)]
    scored = {"nut": CategoryScores("nut", [2, 0], [True, True], [1.0, 1.0], maps[:2]),
              "bolt": CategoryScores("bolt", [1], [True], [1.0], maps[2:])}  # fmt: skip
    assert map_reading(source, {1: "", 2: ""}, scored) == {"place": 1.0, "place_within_one": 1.0}


SAID = ["There is a scratch.", "There is a scratch.", "It is normal.", "Hm.", "Hm.", "It is normal.", "It is normal."]


def test_confusion_counts_what_was_said_of_each_kind():
    assert confusion(SAID, TRUTHS) == {"broken edge": {"normal": 1, "scratch": 1}, "scratch": {"scratch": 1}}
    assert confusion(["Hm."], [Truth(True, "dent")]) == {"dent": {"unread": 1}}
    assert kind_table({}) is None
    assert kind_table(confusion(SAID, TRUTHS)) == {
        "heads": ["broken edge", "scratch", "normal"],
        "rows": [
            ("broken edge", [(0, True), (1, False), (1, False)]),
            ("scratch", [(0, False), (1, True), (0, False)]),
        ],
    }


def test_the_screen_and_the_report_show_them_beside_the_model(tmp_path):
    beside = {"baselines": constant_grades(TRUTHS), "map_reading": {"place": 0.75, "place_within_one": 1.0}}
    answers = {**grade_answers(SAID, TRUTHS), **beside, "kinds": confusion(SAID, TRUTHS)}
    first, *lines = render_answers(answers).splitlines()
    assert first.split("  ")[0] == "7 answers" and first.endswith("the model  one constant answer  read off its map")
    shares = {line[:40].strip(): line[40:].split() for line in lines}
    assert shares["names the place, one of nine"] == ["0.000", "0.500", "0.750"]
    assert shares["names the kind of defect"] == ["0.333", "0.667", "–"]
    assert render_answers({}) == "no answers were graded" and answer_table({"count": 3}) is None
    write_report(tmp_path / "r.html", title="t", results={"answers": answers})
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "one constant answer" in text and "0.667" in text and "Which kind it says" in text
    write_report(tmp_path / "r.html", title="t", results={"answers": {**answers, "kinds": {}}})
    assert "Which kind it says" not in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_short_questions_count_where_both_of_a_pair_are_right(tmp_path):
    """Three pairs: rightly answered, answered without looking, and wrong about the place and the cause."""
    mask = np.zeros((9, 9), np.uint8)
    mask[0, 0] = 1
    bad = Sample(mask, mask, True, "nut", "test", "a", defect=Defect("dent", "impact", "soften it"))
    good = Sample(mask, np.zeros_like(mask), False, "nut", "test", "b")
    looked = ["At the top left.", "Nowhere.", "Yes.", "No.", "Likely cause: impact.", prompts.NOTHING_WRONG]
    blind = ["Nowhere.", "Nowhere.", "Yes.", "Yes.", prompts.NOTHING_WRONG, prompts.NOTHING_WRONG]
    wrong = ["At the top.", "Nowhere.", "Yes.", "No.", "Likely cause: dust.", prompts.NOTHING_WRONG]
    shares = grade_pairs([(bad, good, looked), (bad, good, blind), (bad, good, wrong)])
    third = pytest.approx(1 / 3)
    assert shares == {
        "where": {"good": 1.0, "defective": third, "both": third},
        "is_there": {"good": pytest.approx(2 / 3), "defective": 1.0, "both": pytest.approx(2 / 3)},
        "why": {"good": 1.0, "defective": third, "both": third},
    }
    answers = {"count": 6, "verdict": 0.5, "asked": shares}
    assert render_answers(answers).splitlines()[-1].split() == ["Why?", "1.000", "0.333", "0.333"]
    write_report(tmp_path / "r.html", title="t", results={"answers": answers})
    assert "Where is it?" in Page((tmp_path / "r.html").read_text(encoding="utf-8")).text

"""Answers are read for what they claim, and graded against the truth, in the wordings models use."""

import numpy as np
import pytest

from iadgpt_jax.data.detection_prompt import NORMALITY
from iadgpt_jax.data.place import PLACES
from iadgpt_jax.data.sources.sample import Defect, Sample
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.evaluate.reasoning import Claim, Truth, grade_answers, read_answer

CAUSE = "Likely cause: contact with a sharp tool. Remedy: cover the tool edge."


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["scratch", "missing part", "colour stain", "moved part"])
def test_our_own_answers_are_read_back(kind, place):
    answer = f"There is a {kind} at the {place}. {CAUSE}"
    assert read_answer(answer) == Claim(True, kind, place)
    assert read_answer(f"No. {answer}".upper()) == Claim(True, kind, place)


@pytest.mark.parametrize(
    "answer,claim",
    [
        ("The product is normal.", Claim(False)),
        ("Yes", Claim(False)),
        (" yes.\n", Claim(False)),
        ("No.", Claim(True)),
        ("no", Claim(True)),
        ("No defects found.", Claim(False)),  # not a bare "No"
        ("There is no defect.", Claim(False)),
        ("There are no visible defects at the top left.", Claim(False)),
        ("The product is not normal.", Claim(True)),
        ("The product looks flawless.", Claim(False)),
        ("Nothing. The product is normal.", Claim(False)),
        ("Nothing.", Claim(False)),
        ("Nowhere.", Claim(False)),
        ("At the bottom-right.", Claim(True, None, "bottom right")),
        ("There is an Oil Stain in the upper-left.", Claim(True, "oil stain", "top left")),
        ("There is a dent near the centre.", Claim(True, "dent", "center")),
        ("There is a dent on the lower right. Likely cause: a fall at the top.", Claim(True, "dent", "bottom right")),
        ("There is a dent. Remedy: turn it to the left.", Claim(True, "dent", None)),
        ("There is a crack at the center left", Claim(True, "crack", "left")),
        ("There is a hole.", Claim(True, "hole", None)),
        ("", Claim(None)),
        ("scr scr the the", Claim(None)),
        ("Normally it rains.", Claim(None)),
    ],
)
def test_wordings(answer, claim):
    assert read_answer(answer) == claim


def test_the_words_the_model_is_trained_on_are_read_back():
    image, mask = np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8)
    defect = Defect("oil stain", "a leak at the bottom left", "tighten the seal at the top")
    good = Sample(image, mask, False, "nut", "test", "nut/1")
    assert read_answer(prompts.reasoning(good)) == Claim(False)
    for index, place in enumerate(PLACES):
        mask = np.zeros((9, 9), np.uint8)
        mask[3 * (index // 3) + 1, 3 * (index % 3) + 1] = 1
        bad = Sample(image, mask, True, "nut", "test", "nut/2", defect=defect)
        assert read_answer(prompts.reasoning(bad)) == Claim(True, "oil stain", place)
    unmasked = Sample(image, None, True, "nut", "test", "nut/2", defect=defect)
    assert read_answer(prompts.reasoning(unmasked)) == Claim(True, "oil stain", None)
    for defective in (False, True):
        claim = read_answer(NORMALITY.verdict(defective), anomalous_answer=NORMALITY.anomalous_answer)
        assert claim == Claim(defective)


def test_the_polarity_of_a_bare_answer_is_the_templates():
    assert read_answer("Yes.", anomalous_answer="Yes") == Claim(True)
    assert read_answer("No.", anomalous_answer="Yes") == Claim(False)


def test_grades_count_what_is_known_and_misses_as_wrong():
    truths = [
        Truth(True, "scratch", "top left"),
        Truth(True, "scratch", "top left"),
        Truth(True, "dent", "bottom right"),
        Truth(True, "dent", "bottom right"),
        Truth(True),  # real photographs: neither kind nor place known
        Truth(False),
        Truth(False),
        Truth(False),
    ]
    answers = [
        f"There is a scratch at the top left. {CAUSE}",  # all right
        "There is a dent at the top.",  # wrong kind, next cell
        "The product is normal.",  # missed
        "There is a dent at the left.",  # right kind, two cells away
        "No.",
        "The product is normal.",
        "There is a scratch at the top.",  # false alarm
        "mumble",  # unreadable counts as wrong
    ]
    assert grade_answers(answers, truths) == {
        "count": 8,
        "parsed": 7 / 8,
        "verdict": 5 / 8,
        "kind": 2 / 4,
        "place": 1 / 4,
        "place_within_one": 2 / 4,
    }


def test_nothing_to_grade_is_none_and_lengths_must_agree():
    grades = grade_answers(["Yes."], [Truth(False)])
    assert grades == {"count": 1, "parsed": 1.0, "verdict": 1.0, "kind": None, "place": None, "place_within_one": None}
    with pytest.raises(ValueError, match="1 answers for 0 truths"):
        grade_answers(["Yes."], [])

"""The letter that an answer chooses is found however it is said, and where none can be told none is made up."""

from __future__ import annotations

import pytest

from iadgpt_jax.evaluate.benchmarks.choices import published_choice, read_choice

OPTIONS = {"A": "Scratch.", "B": "Deep scratch.", "C": "No defect.", "D": "Bent pin."}


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        (" b\n", "B"),
        ("(C)", "C"),
        ("**D**", "D"),
        ("B.", "B"),
        ("B: Deep scratch.", "B"),
        ("C) No defect", "C"),
        ("Answer: B.", "B"),
        ("answer: a", "A"),
        ("The answer is (D).", "D"),
        ("The correct answer is: C", "C"),
        ("I would choose option A.", "A"),
        ("Answer: A? No, wait. Answer: B.", "B"),
        ("Scratch", "A"),
        ("deep scratch", "B"),
        ("There is a deep scratch on the left.", "B"),
        ("It must be B because the mark is deep.", "B"),
        ("The image shows a bent pin, so D", "D"),
        # Nothing to be told.
        ("", None),
        ("E", None),
        ("Answer: E.", None),
        ("A scratch or a bent pin.", None),
        ("A or B", None),
        ("I cannot see the image.", None),
        ("The answer is a mystery.", None),
        ("A mark can be seen.", None),
        ("Yes", None),
    ],
)
def test_the_choice_of_an_answer(answer, letter):
    assert read_choice(answer, OPTIONS) == letter


def test_options_that_are_alike_are_told_apart_by_their_letter_alone():
    options = {"A": "Yes.", "B": "Yes!"}
    assert read_choice("Yes", options) is None and read_choice("B. Yes", options) == "B"


@pytest.mark.parametrize(
    ("answer", "letter"),
    [("B", "B"), ("A scratch, so B", "B"), ("A scratch", "A"), ("deep scratches", "B")],
)
def test_the_published_reading(answer, letter):
    assert published_choice(answer, OPTIONS) == letter


@pytest.mark.parametrize("answer", ["", "???", "F", "I cannot see the image."])
def test_the_published_reading_always_finds_something(answer):
    assert published_choice(answer, OPTIONS) in OPTIONS


def test_the_published_reading_without_options_finds_nothing():
    assert published_choice("no letter", {}) is None

"""Questions of stage 2 have several phrasings; one of each unless told otherwise, and every one asks the same."""

from __future__ import annotations

import pytest

from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.place import PLACES
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.phrasings import PHRASINGS
from iadgpt_jax.errors import InputError
from tests.data.numbered import Numbered, instances

QUESTIONS = {
    "odd_one_out": [prompts.ODD_ONE],
    "irregular_region": [prompts.IRREGULAR],
    "pair_difference": [prompts.WHERE_DIFFERENT, prompts.DIFFERS_AT],
}


def asked(name, count=150, **options) -> dict[str, set[str]]:
    """Question, its place left open -> the answers it got."""
    ((task, _),) = build(Numbered(), {name: {"weight": 1.0, "synthetic": 0.0, **options}})
    found: dict[str, set[str]] = {}
    for instance in instances(task, count):
        for block in instance.blocks:
            (turn,) = block.turns
            places = [place for place in PLACES if f"the {place}" in turn.question]
            question = turn.question.replace(f"the {max(places, key=len)}", "the {place}") if places else turn.question
            found.setdefault(question, set()).add(turn.answer)
    return found


@pytest.mark.parametrize("name", QUESTIONS)
def test_there_is_one_phrasing_unless_told_otherwise(name):
    assert set(asked(name)) == set(QUESTIONS[name])


@pytest.mark.parametrize("name", QUESTIONS)
def test_all_phrasings_of_a_question_get_the_same_answers(name):
    found = asked(name, 600, phrasings=5)
    assert set(found) == {phrase for question in QUESTIONS[name] for phrase in PHRASINGS[question]}
    for question in QUESTIONS[name]:
        answers = [found[phrase] for phrase in PHRASINGS[question]]
        assert all(one == answers[0] for one in answers) and len(answers[0]) > 1


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("phrasings", [0, 6])
def test_there_are_no_more_than_there_are(name, phrasings):
    with pytest.raises(InputError, match=f"config.mixture.{name}.phrasings is {phrasings}: choose 1 to 5"):
        asked(name, 1, phrasings=phrasings)


def test_a_phrasing_is_a_sentence_of_its_own_that_names_a_place_exactly_where_it_should():
    every = [phrase for phrases in PHRASINGS.values() for phrase in phrases]
    assert len(set(every)) == len(every) and all(phrase[0].isupper() and phrase[-1] in ".?" for phrase in every)
    for question, phrases in PHRASINGS.items():
        assert phrases[0] == question
        assert all(phrase.count("{place}") == (question == prompts.DIFFERS_AT) for phrase in phrases)

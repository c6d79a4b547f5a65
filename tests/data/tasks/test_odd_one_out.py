"""A group of different images of one product: at most one is defective, and the answer names it."""

from __future__ import annotations

from collections import Counter

import pytest

from iadgpt_jax.data.mixture import build
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.errors import InputError
from tests.data.numbered import Numbered, instances, is_defective, number


def odd_one_out(source, **options):
    ((task, _),) = build(source, {"odd_one_out": {"weight": 1.0, **options}})
    return task


def test_the_answer_names_the_one_defective_image():
    found = set()
    for instance in instances(odd_one_out(Numbered(), synthetic=0.0)):
        odd = [i for i, image in enumerate(instance.shared) if is_defective(image)]
        assert len(instance.shared) == 4 and len(odd) <= 1
        assert instance.blocks[0].sees == 4
        expected = prompts.odd_one(odd[0] if odd else None)
        assert instance.blocks[0].turns[0].answer == expected
        found.add(expected)
    assert len(found) == 5, "each of four positions, and none"


def test_a_patch_is_pasted_onto_any_good_image_and_no_image_is_shown_twice():
    """480 defects pasted among 8 images each: every image is the one about 60 times, 97 % within 3 deviations of it."""
    task, source = odd_one_out(Numbered(categories=1, defective=0), synthetic=1.0, visits=600), Numbered(1, 8, 0)
    pasted = Counter()
    for instance in instances(task, 600):
        assert len({number(image) for image in instance.shared}) == 4
        answer = instance.blocks[0].turns[0].answer
        changed = [
            image for image in instance.shared if not any((image == source[i].image).all() for i in range(8))
        ]  # fmt: skip
        assert len(changed) == (answer != prompts.NONE_DIFFERS)
        pasted.update(number(image) for image in changed)
    expected = sum(pasted.values()) / 8
    assert len(pasted) == 8 and all(abs(count - expected) < 4 * expected**0.5 for count in pasted.values())


def test_a_category_with_three_good_images_shows_three():
    answers = set()
    for instance in instances(odd_one_out(Numbered(good=3), synthetic=0.0)):
        assert len(instance.shared) == 3 and instance.blocks[0].sees == 3
        odd = [i for i, image in enumerate(instance.shared) if is_defective(image)]
        answers.add(instance.blocks[0].turns[0].answer)
        assert instance.blocks[0].turns[0].answer == prompts.odd_one(odd[0] if odd else None)
    assert len(answers) == 4


@pytest.mark.parametrize("group", [2, 5])
def test_groups_are_as_large_as_there_are_words_for(group):
    with pytest.raises(InputError, match=f"config.mixture.odd_one_out.group is {group}: choose 3 to 4 images"):
        odd_one_out(Numbered(), group=group)

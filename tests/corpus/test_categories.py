"""The list of products to search for: long enough, each once, and none that MVTec-AD or VisA evaluate on."""

from __future__ import annotations

import re

import pytest

from iadgpt_jax.corpus.categories import OURS, folder_of, read_categories
from iadgpt_jax.errors import InputError

EVALUATED = (
    "bottle cable capsule carpet grid hazelnut leather nut pill screw tile toothbrush transistor wood zipper "
    "candle cashew chewinggum gum fryum macaroni pcb"
).split()


def test_there_are_four_hundred_and_more_each_once():
    categories = read_categories()
    assert len(categories) >= 400
    assert len({folder_of(name).casefold() for name in categories}) == len(categories)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9 -]*", name) for name in categories)


def test_none_is_a_product_of_the_evaluation_sets():
    """The last word says what a thing is: a bottle cap is a cap, a wood screw a screw."""
    for name in read_categories():
        thing = name.split()[-1]
        singular = {thing, thing.removesuffix("s"), thing.removesuffix("es")}
        assert not singular & set(EVALUATED), name
        assert not set(name.split()) & {"hazelnut", "cashew", "macaroni", "fryum", "pcb", "transistor"}, name


def test_the_list_is_in_groups():
    assert OURS.read_text().count("\n# ") >= 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no category"),
        ("a bolt\na  bolt\n", "line 2: a bolt stands in line 1"),
        ("../a\n", "cannot be a folder's name"),
    ],
)
def test_a_list_of_ones_own_is_checked(tmp_path, text, says):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=says):
        read_categories(tmp_path / "list.txt")
    with pytest.raises(InputError, match="--categories names"):
        read_categories(tmp_path / "nowhere.txt")

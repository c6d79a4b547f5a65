"""Procedural products: pure functions of their arguments, exact masks, honest splits, a closed vocabulary."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from iadgpt_jax.data.place import PLACES
from iadgpt_jax.data.sources.procedural import ProceduralSource
from iadgpt_jax.data.sources.sample import Sample
from iadgpt_jax.procedural import captions as caption_words
from iadgpt_jax.procedural import corpus
from iadgpt_jax.procedural.captions import NOUNS
from iadgpt_jax.procedural.defects import MARKS, PART_KINDS
from iadgpt_jax.procedural.design import Alteration, Design, family_of
from iadgpt_jax.procedural.facts import KINDS, MATERIALS, every
from iadgpt_jax.procedural.families import TRAINED, UNSEEN
from iadgpt_jax.procedural.noise import generator


@pytest.fixture(scope="module")
def train() -> ProceduralSource:
    source = ProceduralSource(3, categories=2 * len(TRAINED), normal=2, defective=6)
    source.prepare(workers=1)
    return source


@pytest.fixture(scope="module")
def held_out() -> ProceduralSource:
    return ProceduralSource(3, "held_out", categories=32, normal=1, defective=2)


def same(a: Sample, b: Sample) -> bool:
    words = (a.defective, a.category, a.split, a.key, a.captions, a.defect)
    return (
        np.array_equal(a.image, b.image)
        and np.array_equal(a.mask, b.mask)
        and words == (b.defective, b.category, b.split, b.key, b.captions, b.defect)
    )


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def test_images_are_a_pure_function_of_the_arguments_in_any_order():
    forwards, backwards = (ProceduralSource(5, categories=4, normal=2, defective=2) for _ in range(2))
    first = [forwards[i] for i in range(16)]
    last = [backwards[i] for i in reversed(range(16))][::-1]
    assert all(same(a, b) for a, b in zip(first, last, strict=True))
    assert not np.array_equal(first[0].image, ProceduralSource(6, categories=1)[0].image)
    assert not np.array_equal(first[0].image, first[1].image), "instances of a category must differ"


@pytest.mark.parametrize("workers", [1, 2])
def test_prepared_ahead_equals_made_on_demand(workers: int):
    lazy, ready = (ProceduralSource(5, "held_out", categories=5, normal=1, defective=2) for _ in range(2))
    steps: list[tuple[int, int]] = []
    ready.prepare(workers=workers, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(k, 5) for k in range(1, 6)]
    assert all(same(lazy[i], ready[i]) for i in range(len(lazy)))


def test_more_images_of_a_category_leave_the_first_ones_as_they_are():
    few, many = ProceduralSource(5, categories=2, normal=1, defective=1), ProceduralSource(5, categories=3, normal=3)
    assert np.array_equal(few[2].image, many[11].image)
    assert np.array_equal(few[3].image, many[14].image)


def test_records_tell_what_the_samples_are(train: ProceduralSource, held_out: ProceduralSource):
    for source, split in ((train, "train"), (held_out, "test")):
        keys = set()
        for i in range(0, len(source), 5):
            record, sample = source.records[i], source[i]
            assert (record.category, record.split, record.defective) == (sample.category, split, sample.defective)
            assert sample.image.shape == (112, 112, 3) and sample.image.dtype == np.uint8
            assert sample.mask.shape == (112, 112) and sample.mask.dtype == np.uint8
            assert sample.key == source.keys[i]
            keys.add(sample.key)
        assert len(keys) == len(range(0, len(source), 5)) and len(source.keys) == len(source)
    with pytest.raises(IndexError):
        train[len(train)]
    with pytest.raises(ValueError, match="held_out"):
        ProceduralSource(0, "validation")


def test_masks_are_where_the_picture_with_the_defect_differs_grown_by_a_pixel(train: ProceduralSource):
    for i in range(7, len(train), 8):
        pair = train.factory.pair(i)
        sample = train[i]
        assert np.array_equal(pair.image, sample.image) and np.array_equal(pair.mask, sample.mask)
        difference = np.abs(pair.image.astype(int) - pair.without.astype(int)).max(axis=2)
        seen = np.pad(difference > 0.06 * 255, 1)
        grown = np.zeros((112, 112), bool)
        for dy in range(3):  # a dilation written out, independent of OpenCV's
            for dx in range(3):
                grown |= seen[dy : dy + 112, dx : dx + 112]
        assert np.array_equal(sample.mask > 0, grown)
        assert difference[seen[1:-1, 1:-1]].mean() > 0.12 * 255


def test_good_parts_have_empty_masks_and_no_defect(train: ProceduralSource):
    for i in range(len(train)):
        sample = train[i]
        assert sample.mask.any() == sample.defective
        assert (sample.defect is not None) == sample.defective


def test_defects_lie_on_the_product_and_range_from_obvious_to_a_few_pixels(train: ProceduralSource):
    areas = np.array([train[i].mask.mean() for i in range(len(train)) if train[i].defective])
    assert areas.min() >= 0.0012 and areas.max() <= 0.20
    assert (areas < 0.012).mean() == pytest.approx(0.08, abs=0.05)
    assert (areas > 0.05).mean() > 0.1
    shares = []
    for i in range(4, len(train), 8):
        product = train.factory.design(i // 8).site.product
        reach = cv2.dilate(product, np.ones((29, 29), np.uint8))  # parts may move, rims bend
        on = cv2.resize(reach, (112, 112)) > 0
        shares.append(on[train[i].mask > 0].mean())
    assert min(shares) > 0.6 and np.mean(shares) > 0.98  # the largest dents and smears run over the rim


def test_families_and_categories_are_many_and_the_splits_apart():
    assert len(TRAINED) >= 14 and len(UNSEEN) >= 4 and not set(TRAINED) & set(UNSEEN)
    source = ProceduralSource(0)
    assert len({record.category for record in source.records}) == 800 and len(source) == 800 * 16
    assert {family_of("train", c) for c in range(800)} == set(TRAINED)
    held = ProceduralSource(0, "held_out", categories=32)
    assert not {r.category for r in held.records} & {r.category for r in source.records}
    assert sum(family_of("held_out", c) in UNSEEN for c in range(32)) >= 8
    for count in range(4, 64):
        assert sum(family_of("held_out", c) in UNSEEN for c in range(count)) >= count / 4


def test_categories_look_different_from_one_another():
    designs = [Design(0, split, c, 64) for split in ("train", "held_out") for c in range(2 * len(TRAINED))]
    small = np.stack([cv2.resize(d.paint(1), (16, 16), interpolation=cv2.INTER_AREA) for d in designs]).astype(
        np.float32
    )
    distance = np.abs(small[:, None] - small[None]).mean(axis=(2, 3, 4)) + 255 * np.eye(len(small), dtype=np.float32)
    assert distance.min() > 5


def test_fixed_marks_come_from_the_defect_generators_and_stay_with_the_design():
    designs = [Design(1, "train", c, 224) for c in range(2 * len(TRAINED))]
    kinds = {mark.kind for design in designs for mark in design.marks}
    assert kinds <= set(MARKS) and len(kinds) >= 8
    assert np.mean([design.fixed_marks > 0 for design in designs]) > 0.6
    assert max(design.fixed_marks for design in designs) == 3
    marked = next(design for design in designs if design.marks and design.varies)
    bare = Design(1, "train", marked.key[2], 224)
    bare.marks = []
    spots = [(np.abs(marked.paint(t).astype(int) - bare.paint(t)).max(axis=2) > 40) for t in (1, 2)]
    assert spots[0].any() and (spots[0] & spots[1]).sum() > 0.5 * (spots[0] | spots[1]).sum()


def test_an_altered_part_changes_nothing_but_itself():
    for category in range(len(TRAINED)):
        design = Design(1, "train", category, 112)
        parts = {layer.part for layer in design.layers if layer.part is not None}
        if parts:
            still = Alteration("moved part", min(parts), (0.0, 0.0), 0.0)
            assert np.abs(design.paint(3, still).astype(int) - design.paint(3)).max() <= 1


def test_every_kind_of_defect_appears_with_its_facts(train: ProceduralSource):
    defects = [train[i].defect for i in range(len(train)) if train[i].defective]
    assert {d.kind for d in defects} == set(KINDS) == {*MARKS, *PART_KINDS} == set(NOUNS) and len(KINDS) >= 8
    assert len({(d.kind, d.cause, d.remedy) for d in every()}) >= len(KINDS)
    for fact in every():
        assert all(0 < len(text.split()) <= 5 for text in (fact.kind, fact.cause, fact.remedy)), fact


def test_captions_are_three_short_sentences_made_of_the_corpus(train: ProceduralSource, held_out: ProceduralSource):
    known = set().union(*(words(sentence) for sentence in corpus()))
    assert corpus() == corpus(0)
    captions = [source[i].captions for source in (train, held_out) for i in range(0, len(source), 3)]
    for f, family in enumerate({**TRAINED, **UNSEEN}.values()):
        for k in range(12):
            product = family(generator(77, f, k))
            assert product.material in MATERIALS
            captions.append((product.shape, product.structure, product.surface + "."))
    for three in captions:
        assert len(three) == 3
        for text in three:
            assert text.endswith(".") and len(text.split()) <= 16, text
            assert words(text) <= known, (text, words(text) - known)


def test_captions_name_places_as_questions_do():
    assert caption_words.PLACES == PLACES


def test_other_sizes_show_the_same_products():
    small, large = (ProceduralSource(2, categories=3, normal=1, defective=1, side=side) for side in (112, 168))
    for category in range(3):
        shrunk = cv2.resize(large.factory.design(category).paint(1), (56, 56), interpolation=cv2.INTER_AREA)
        other = cv2.resize(small.factory.design(category).paint(1), (56, 56), interpolation=cv2.INTER_AREA)
        assert np.abs(shrunk.astype(int) - other).mean() < 16
    assert large[1].image.shape == (168, 168, 3)

"""The few-shot protocol: what is drawn, what is never mixed up, and scores that equal those of the public API."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from iadgpt_jax.checkpoint.load import LoadedModel
from iadgpt_jax.data.sources.sample import Record, Sample
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.evaluator import Evaluator
from iadgpt_jax.evaluate.measure import measure, upsample
from iadgpt_jax.evaluate.metrics import image_metrics
from iadgpt_jax.evaluate.pixels import pixel_metrics
from iadgpt_jax.evaluate.protocol import REFERENCE_POOL, draw_plans
from iadgpt_jax.infer.inspector import Inspector
from tests.small_iadgpt import draw_image, draw_mask, lively_params, small_config

pytestmark = pytest.mark.usefixtures("quick_compilation")

CATEGORIES = ("bolt", "nut", "ring")


def contents(*counts: tuple[str, bool, int]):
    """A source's table of contents: (split, defective, how many) of every category."""
    records = [Record(c, split, bad) for c in CATEGORIES for split, bad, count in counts for _ in range(count)]
    return SimpleNamespace(name="drawn", records=records)


SPLIT = contents(("train", False, 6), ("train", True, 2), ("test", False, 3), ("test", True, 4))
UNSPLIT = contents(("test", True, 4), ("test", False, REFERENCE_POOL + 3))


@pytest.mark.parametrize("source", [SPLIT, UNSPLIT], ids=["split", "unsplit"])
def test_references_are_good_ones_of_the_category_and_never_queries(source):
    for draw in range(5):
        for plan in draw_plans(source, (1, 2, 4), draw):
            assert len(set(plan.references)) == 4 and not set(plan.references) & set(plan.queries)
            for index in plan.references:
                assert source.records[index].category == plan.category and not source.records[index].defective
            asked = [source.records[index] for index in plan.queries]
            assert [record.defective for record in asked].count(True) == 4, "defects of the train split stay out"
            assert [record.defective for record in asked].count(False) == 3
            assert {(record.category, record.split) for record in asked} == {(plan.category, "test")}


def test_parts_of_which_nobody_says_whether_they_are_good_and_validation_images_are_neither():
    asked = (("train", False, 6), ("validation", False, 3), ("test", None, 5), ("test", False, 3), ("test", True, 4))
    source = contents(("train", None, 4), *asked)
    for plan in draw_plans(source, (1, 4), 0):
        told = [source.records[index] for index in (*plan.references, *plan.queries)]
        assert {(record.split, record.defective) for record in told} == {
            ("train", False),
            ("test", False),
            ("test", True),
        }
        assert len(plan.queries) == 7


def test_the_queries_of_all_draws_are_the_same_and_none_is_ever_a_reference():
    plans = [plan for draw in range(20) for plan in draw_plans(UNSPLIT, (4,), draw) if plan.category == "nut"]
    assert len({plan.queries for plan in plans}) == 1
    shown = {index for plan in plans for index in plan.references}
    assert len(shown) == REFERENCE_POOL and not shown & set(plans[0].queries)


def test_a_draw_is_a_function_of_seed_number_and_category_alone():
    plans = draw_plans(SPLIT, (1, 4), 1, seed=3)
    assert plans == draw_plans(SPLIT, (1, 4), 1, seed=3)
    assert plans != draw_plans(SPLIT, (1, 4), 2, seed=3) and plans != draw_plans(SPLIT, (1, 4), 1, seed=4)
    assert draw_plans(SPLIT, (1, 4), 1, seed=3, categories=["ring"]) == plans[2:]
    fewer = draw_plans(SPLIT, (1, 2), 1, seed=3)
    assert [plan.references for plan in fewer] == [plan.references[:2] for plan in plans], "k shots are the first k"


def test_references_of_a_category_do_not_depend_on_the_others_in_its_source():
    """A category alone, behind others or before them: the same of its good samples, in the same order."""

    def drawn(source, draw):
        plans = {plan.category: plan.references for plan in draw_plans(source, (1, 4), draw, seed=3)}
        first = [record.category for record in source.records].index("ring")
        return [index - first for index in plans["ring"]]

    alone = SimpleNamespace(name="one", records=[record for record in SPLIT.records if record.category == "ring"])
    turned = SimpleNamespace(name="turned", records=sorted(SPLIT.records, key=lambda r: r.category, reverse=True))
    for draw in range(5):
        assert drawn(alone, draw) == drawn(SPLIT, draw) == drawn(turned, draw)
    plans = draw_plans(SPLIT, (4,), 0)
    offsets = {tuple(index - plan.references[0] for index in plan.references) for plan in plans}
    assert len(offsets) > 1, "categories draw apart from each other"


def test_wrong_references_are_good_ones_of_another_category():
    own, wrong = draw_plans(SPLIT, (4,), 0), draw_plans(SPLIT, (4,), 0, references="wrong")
    assert [plan.queries for plan in wrong] == [plan.queries for plan in own]
    for plan in [*wrong, *draw_plans(SPLIT, (4,), 0, references="wrong", categories=["nut"])]:
        records = [SPLIT.records[index] for index in plan.references]
        assert len({record.category for record in records} - {plan.category}) == 1
        assert not any(record.defective for record in records)


def test_what_cannot_be_evaluated_is_an_input_error():
    with pytest.raises(InputError, match="bolt of drawn cannot be evaluated at 7 shots: .*found 6"):
        draw_plans(SPLIT, (1, 7), 0)
    with pytest.raises(InputError, match="no test images of known verdict"):
        draw_plans(contents(("train", False, 4), ("test", None, 3)), (1,), 0)
    with pytest.raises(InputError, match="no category gear; it has bolt, nut, ring"):
        draw_plans(SPLIT, (1,), 0, categories=["gear", "nut"])
    alone = SimpleNamespace(name="one", records=[record for record in SPLIT.records if record.category == "nut"])
    with pytest.raises(InputError, match="holds nut alone"):
        draw_plans(alone, (1,), 0, references="wrong")
    with pytest.raises(ValueError, match="choose one of"):
        draw_plans(SPLIT, (1,), 0, references="other")


@dataclass
class Drawn:
    """Random images, 4 good references, 3 good and 4 defective queries per category, as a source."""

    name: str = "drawn"

    def __post_init__(self):
        counts = ("train", False, 4), ("test", False, 3), ("test", True, 4)
        self.records = [record for record in contents(*counts).records if record.category != "ring"]
        rng = np.random.default_rng(0)
        self.samples = [self._draw(record, index, rng) for index, record in enumerate(self.records)]

    def _draw(self, record, index, rng) -> Sample:
        image = draw_image(rng)
        mask = draw_mask(rng, len(image)) if record.defective else np.zeros(image.shape[:2], np.uint8)
        return Sample(image, mask, record.defective, record.category, record.split, str(index))

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        return self.samples[index]


@pytest.fixture(scope="module")
def source():
    return Drawn()


@pytest.fixture(scope="module")
def loaded(source):
    info = {"image_side": len(source[0].image), "map_space": "probability"}
    return LoadedModel(lively_params(small_config()), small_config(), tiny_tokenizer(), info, 0)


@pytest.mark.slow
@pytest.mark.parametrize("references, ratio", [("own", 1.0), ("wrong", 0.4), ("none", 1.0)])
def test_scores_and_maps_equal_those_of_the_public_api(loaded, source, references, ratio):
    """Packed, sharing references between queries of several shot counts, against one inspection at a time."""
    shots = (1, 2)
    draws = Evaluator(loaded, shots, at_once=5, ratio=ratio).draws(source, 1, references=references)
    inspector = Inspector(loaded, ratio=ratio)
    for plan in draws.plans[0]:
        for k in shots:
            found = draws.scored[0][k][plan.category]
            assert tuple(found.indices) == plan.queries
            assert found.labels == [source.records[i].defective for i in plan.queries]
            shown = [source[i].image for i in plan.references[:k] if references != "none"]
            queries = [source[i].image for i in plan.queries]
            alone = inspector.inspect_many(queries, shown, explain=False)
            np.testing.assert_allclose(found.margins, [result.margin for result in alone], atol=8e-5)
            np.testing.assert_allclose(found.maps, [result.map for result in alone], atol=2e-6)


def test_metrics_are_those_of_upsampled_maps_and_leave_out_what_nobody_drew(source):
    rng = np.random.default_rng(1)
    indices = [i for i, record in enumerate(source.records) if record.category == "nut" and record.split == "test"]
    found = SimpleNamespace(
        indices=indices, labels=[source.records[i].defective for i in indices], margins=list(rng.normal(size=7)),
        maps=[rng.random((4, 4)) for _ in indices],
    )  # fmt: skip
    measured = measure(source, {"nut": found})["nut"]
    masks = [source[i].mask for i in indices]
    right = (np.array(found.margins) > 0) == found.labels
    wanted = image_metrics(np.array(found.margins), np.array(found.labels)) | {"text_accuracy": right.mean()}
    assert not measured.undefined
    assert measured.metrics == wanted | pixel_metrics([upsample(m, masks[0].shape) for m in found.maps], masks)

    class Unmasked(Drawn):
        def _draw(self, record, index, rng):
            sample = super()._draw(record, index, rng)
            return Sample(sample.image, None if index == indices[-1] else sample.mask, *list(vars(sample).values())[2:])

    measured = measure(Unmasked(), {"nut": found})["nut"]
    assert measured.metrics == wanted and measured.undefined["pixel_ap"] == "1 of 7 images are defective without a mask"

    class Lost(Drawn):
        """Defects so small that no pixel of their masks is left at this size."""

        def _draw(self, record, index, rng):
            sample = super()._draw(record, index, rng)
            return Sample(sample.image, 0 * sample.mask, *list(vars(sample).values())[2:])

    measured = measure(Lost(), {"nut": found})["nut"]
    assert measured.metrics == wanted and measured.undefined["pixel_aupro"] == "no pixel of any mask is defective"


def test_maps_are_upsampled_with_half_pixel_centres():
    """A ramp of cells 0, 1 over four pixels: .25 and .75 between the centres, flat outside them."""
    np.testing.assert_allclose(upsample(np.array([[0.0, 1.0]]), (1, 4)), [[0, 0.25, 0.75, 1]])

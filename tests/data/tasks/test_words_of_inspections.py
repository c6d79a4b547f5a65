"""Inspections that also ask for words: of the queries that were drawn anyway, in further turns, and truly answered."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.data.place import place_on_grid
from iadgpt_jax.data.sources.procedural import ProceduralSource
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.augmentation import NO_AUGMENTATION
from iadgpt_jax.data.tasks.inspect import Inspect
from iadgpt_jax.data.tasks.instance import Instance, Turn
from iadgpt_jax.data.tasks.task_source import TaskSource
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.answer_loss import named
from iadgpt_jax.models.iadgpt.model import IADGPT
from iadgpt_jax.procedural.facts import KINDS
from tests.data.numbered import Numbered, instances, is_defective, white_place
from tests.small_iadgpt import BUDGET, QUICK, inspection, lively_params, small_encoder

pytestmark = pytest.mark.usefixtures("quick_compilation")


def make(source=None, **options) -> Inspect:
    return Inspect(TaskSource(source or Numbered()), NO_AUGMENTATION, **options)


def same_images(a: Instance, b: Instance) -> bool:
    pairs = zip([*a.shared, *(i for block in a.blocks for i in block.images)],
                [*b.shared, *(i for block in b.blocks for i in block.images)], strict=True)  # fmt: skip
    return all(np.array_equal(x, y) for x, y in pairs)


def test_what_is_told_is_told_of_the_queries_that_were_drawn_anyway():
    plain, worded = (make(queries=4, told=told, reasons=0, synthetic=0.5) for told in (0, 3))
    for without, with_words in zip(instances(plain, 20), instances(worded, 20), strict=True):
        assert same_images(without, with_words) and without.ratio == with_words.ratio
        for a, b in zip(without.blocks, with_words.blocks, strict=True):
            assert not a.turns and a.sees == b.sees and a.detection.defective == b.detection.defective
            np.testing.assert_array_equal(a.detection.mask, b.detection.mask)


def test_defective_ones_come_first_and_a_pasted_defect_without_a_name_never():
    """White squares are the photographed defects; what CutPaste makes has none."""
    for instance in instances(make(queries=6, told=3, reasons=0, synthetic=0.4), 60):
        told = [block for block in instance.blocks if block.turns]
        can = [block for block in instance.blocks if is_defective(block.images[0]) or not block.detection.defective]
        assert len(told) == min(3, len(can))
        assert sum(is_defective(block.images[0]) for block in told) == min(3, sum(map(is_defective, _queries(can))))
        for block in told:
            (turn,) = block.turns
            if is_defective(block.images[0]):
                place = white_place(block.images[0])
                words = (("kind", "scratch"), ("place", f"{place}."))
                assert turn == Turn(prompts.REASON, f"There is a scratch at the {place}.", words, whole=False)
            else:
                assert turn == Turn(prompts.REASON, prompts.NOTHING_WRONG)


def _queries(blocks):
    return [block.images[0] for block in blocks]


def test_a_pasted_defect_is_told_where_it_has_a_name():
    task = make(queries=6, told=6, reasons=0, synthetic=1.0, synthetic_kinds=True)
    answers = [turn.answer for i in instances(task, 10) for block in i.blocks for turn in block.turns]
    assert {answer.split(" at ")[0] for answer in answers} == {"There is a misplaced patch", prompts.NOTHING_WRONG}


def test_short_questions_are_answered_truly():
    """Of a procedural product's many kinds every one is asked for, the right one about half of the time."""
    task = make(ProceduralSource(0, categories=3), queries=0, reasons=4, asks=1.0, synthetic=0.0)
    known = {task.source[i].image.tobytes(): task.source[i] for i in range(len(task.source.records))}
    asked, said, starts = set(), set(), set()
    for instance in instances(task, 60):
        for block in instance.blocks:
            sample = known[block.images[0].tobytes()]
            starts.add(block.turns[0].question.split()[0])
            assert len(block.turns) == 2 and len({turn.question.split()[0] for turn in block.turns}) == 2
            for turn in block.turns:
                if turn.question == prompts.WHERE:
                    place = f"At the {place_on_grid(sample.mask)}." if sample.defective else prompts.NOWHERE
                    assert turn.answer == place
                elif turn.question == prompts.WHY:
                    assert turn.answer == (prompts.why(sample) or prompts.NOTHING_WRONG)
                else:
                    kind = next(kind for kind in KINDS if turn.question == prompts.IS_THERE.format(kind=kind))
                    true = sample.defective and sample.defect.kind == kind
                    assert turn.answer == (prompts.YES if true else prompts.NO)
                    asked.add(kind)
                    said.add((sample.defective, turn.answer))
    assert starts == {"Where", "Why?", "Is"} and len(asked) > 8
    assert said == {(True, "Yes."), (True, "No."), (False, "No.")}


def test_of_a_pasted_defect_without_a_name_only_the_place_is_asked():
    task = make(queries=0, reasons=4, synthetic=1.0)
    questions = {turn.question for i in instances(task, 20) for block in i.blocks for turn in block.turns
                 if turn.answer not in (prompts.NOTHING_WRONG, prompts.NOWHERE)}  # fmt: skip
    assert questions == {prompts.WHERE}


@pytest.mark.parametrize("options", [{"told": 7}, {"told": -1}, {"asks": 1.5}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError, match="config.mixture.inspect." + next(iter(options))):
        make(**options)


ENCODER = small_encoder()
SHAPE = RowShape(slots=320, images=4, patches=BUDGET, maps=3, keyword_rows=8, targets=64, mask_side=16)


def with_words(instance: Instance) -> Instance:
    turn = Turn(prompts.REASON, "There is a dent at the top.", (("kind", "dent"), ("place", "top.")), whole=False)
    return replace(instance, blocks=tuple(replace(block, turns=(turn,)) for block in instance.blocks))


def test_an_answer_that_goes_on_is_not_taught_to_end():
    end = ENCODER.config.tokens.chat_end
    for block in ENCODER(with_words(inspection(0, words=False))).blocks:
        tokens = [token for _, token in block.targets]
        assert tokens.count(end) == 1 and tokens[1] == end  # the verdict's
        assert ENCODER.tokenizer.decode(tokens[2:]) == "There is a dent at the top."
        assert len(block.segment) == block.targets[-1][0] + 1
        assert block.target_words[-2:] == [named("place")] * 2


def test_words_asked_for_afterwards_change_neither_score_nor_map():
    """Both come before them. Tolerance: that of tests/invariants/test_packing.py, for slots have moved."""
    config = ENCODER.config
    params, model = lively_params(config), IADGPT(config)
    forward = jax.jit(lambda rows: model.apply({"params": params}, rows), compiler_options=QUICK)
    read = []
    for instance in (inspection(0, words=False), with_words(inspection(0, words=False))):
        packed = pack([ENCODER(instance)], 1, SHAPE, config.vision)
        outputs = forward(packed.rows)
        (_, maps, _) = packed.where[0]
        slots = packed.rows.answer_slots[0, maps]
        read.append((outputs.hidden[0, slots], outputs.probability_maps[0, maps], outputs.logit_maps[0, maps]))
    for plain, worded in zip(*read, strict=True):
        assert np.ptp(plain) > 0
        np.testing.assert_allclose(plain, worded, rtol=0, atol=2e-5)

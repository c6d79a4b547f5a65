"""A detection prompt is one object: its words, its polarity, its keywords, and how a model's files carry it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from iadgpt_jax.data.detection_prompt import DEFECTS, NORMALITY, PROMPTS, named_prompt, prompt_of
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from tests.small_iadgpt import draw_image, small_config


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_survives_the_models_files_as_json(name):
    stored = json.loads(json.dumps({"stage": 3, "detection_prompt": PROMPTS[name].to_dict()}))
    assert prompt_of(stored) == PROMPTS[name] == named_prompt(name)


def test_files_from_before_prompts_were_stored_mean_the_first_prompt():
    assert prompt_of({}) is NORMALITY


@pytest.mark.parametrize(
    "damage",
    [
        {"question": "Is it red?"}, {"abnormal": None}, {"colour": "red"}, {"abnormal": []}, {"abnormal": [""]},
        {"abnormal": "defect"}, {"question": 5}, {"normal_answer": ""}, {"anomalous_answer": None}, {"name": ["x"]},
    ],
)  # fmt: skip
def test_a_damaged_prompt_in_a_models_files_is_an_input_error(damage):
    with pytest.raises(InputError, match="detection_prompt in the model's files cannot be used"):
        prompt_of({"detection_prompt": NORMALITY.to_dict() | damage})


@pytest.mark.parametrize("stored", [[], "normality", 5, {}, [["question", "Is it red?"]]])
def test_what_is_no_prompt_is_an_input_error(stored):
    with pytest.raises(InputError, match="detection_prompt in the model's files cannot be used"):
        prompt_of({"detection_prompt": stored})


def test_an_unknown_prompt_is_an_input_error_that_names_the_known_ones():
    with pytest.raises(InputError, match="no detection prompt 'colour'; choose one of normality, defects"):
        named_prompt("colour")


def test_the_encoder_asks_its_own_prompt_and_answers_by_its_polarity():
    """The same block is answered No under one prompt and Yes under the other, and its keywords are that question's."""
    image = draw_image(np.random.default_rng(0))
    tokenizer = tiny_tokenizer()
    for prompt, answers in ((NORMALITY, {False: "Yes", True: "No"}), (DEFECTS, {False: "No", True: "Yes"})):
        encoder = Encoder(small_config(), tokenizer, prompt)
        for defective, answer in answers.items():
            block = encoder(Instance("test", (Block(images=(image,), detection=Detection(defective)),))).blocks[0]
            assert prompt.question in tokenizer.decode(block.segment.tokens)
            assert tokenizer.decode([token for _, token in block.targets]) == answer and block.scored
            tokens = [block.segment.tokens[row] for row, abnormal, _ in block.keyword_rows if abnormal]
            words = tokenizer.decode(tokens).replace(" ", "")
            assert words == "".join(prompt.abnormal)
        undecided = encoder(Instance("test", (Block(images=(image,), detection=Detection()),))).blocks[0]
        assert undecided.targets == [] and undecided.keyword_rows and undecided.scored


def test_answers_that_begin_alike_are_refused():
    prompt = dataclasses.replace(DEFECTS, normal_answer="No", anomalous_answer="No, it has some")
    with pytest.raises(InputError, match="begin with the same token"):
        prompt.answer_tokens(tiny_tokenizer())

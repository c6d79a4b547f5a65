"""How a case is put to a model, in one of two layouts.

    squares   as this system's models were trained: references, then the query, each squashed to the model's square,
              then the words
    chat      as the publications put it to Qwen2.5-VL: a chat whose images stand among the words, at native resolution

VERSION stands for these words; it is part of what a stopped evaluation must agree with to go on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iadgpt_jax.data.tasks.prompts import REFERENCES_FIRST
from iadgpt_jax.evaluate.benchmarks import mmad
from iadgpt_jax.evaluate.benchmarks.cases import Case, Question
from iadgpt_jax.evaluate.benchmarks.options import SQUARES
from iadgpt_jax.infer.inspector import Asked
from iadgpt_jax.infer.messages import Messages

VERSION = "v1"

INSPECTOR = (
    "You are an industrial inspector who checks products by images. You should judge whether there is a defect in the "
    "query image and answer the questions about it.\nAnswer with the option's letter from the given choices directly.\n"
)
LETTER = "Answer with the option's letter from the given choices directly! "
TEMPLATE = (
    "Following is/are 1 image of normal sample, which can be used as a template to compare the image being queried."
)
QUERY, QUESTIONS = "Following is the query image: ", "Following is the question list: "


def put(
    benchmark: str, layout: str, case: Case, turn: int, said: Sequence[str], query: np.ndarray,
    references: Sequence[np.ndarray],
) -> Asked | Messages:  # fmt: skip
    """Question `turn` (from 0) of a case. said: the answers to those before it, which are shown where the case is
    sequential. query, references: uint8[H, W, 3]."""
    first = 0 if case.sequential else turn
    asked = [_text(benchmark, question) for question in case.questions[first : turn + 1]]
    answers = said if case.sequential else ()
    if layout == SQUARES:
        opening = INSPECTOR if benchmark == mmad.NAME else ""
        opening += REFERENCES_FIRST if references else ""
        words = [opening + asked[0], *asked[1:]]
        history = list(zip(words[:-1], answers, strict=True))
        return Asked(words[-1], query, tuple(references), history)
    shown = _shown(benchmark, query, references)
    messages = [{"role": "user", "content": [*shown, {"type": "text", "text": asked[0]}]}]
    for answer, question in zip(answers, asked[1:], strict=True):
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": question}]
    return messages


def _text(benchmark: str, question: Question) -> str:
    if benchmark != mmad.NAME:
        return question.text
    options = "".join(f"{letter}. {text}\n" for letter, text in question.options.items())
    return f"Question: {question.text} \n{options}"


def _shown(benchmark: str, query: np.ndarray, references: Sequence[np.ndarray]) -> list[dict]:
    """What stands before the first question of a chat; MMAD's images are numbered, as its chat template does."""
    if benchmark != mmad.NAME:
        return [_image(query)]
    parts = [_words(INSPECTOR + LETTER + (TEMPLATE if references else ""))]
    for number, reference in enumerate(references, 1):
        parts += [_words(f"Picture {number}: "), _image(reference)]
    return [*parts, _words(f"{QUERY}Picture {len(references) + 1}: "), _image(query), _words(QUESTIONS)]


def _words(text: str) -> dict:
    return {"type": "text", "text": text}


def _image(image: np.ndarray) -> dict:
    return {"type": "image", "image": image}

"""Detection prompts: the question that is scored, which answer to it means anomalous, and the words maps are read from.

A model is trained with one of them and carries it (`info["detection_prompt"]` in model.json and config.json); scores,
verdicts and maps follow from that object alone. Another prompt is one more entry of PROMPTS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from iadgpt_jax.errors import InputError

if TYPE_CHECKING:
    from iadgpt_jax.data.tokenizer import Tokenizer

INFO_KEY = "detection_prompt"  # where a model's files keep it


class AnswerTokens(NamedTuple):
    """Token ids with which the two answers begin."""

    normal: int
    anomalous: int


@dataclass(frozen=True)
class DetectionPrompt:
    """A question about the query image, answered by one of two words.

    abnormal, normal: words of the question, in lower case, whose attention to the query image makes the two maps
    (paper eq. 5). Inspecting reads the abnormal ones; supervised maps need both. Raises ValueError where one of them
    is not in the question, no abnormal one is given, or a text is none.
    """

    name: str
    question: str
    normal_answer: str
    anomalous_answer: str
    abnormal: tuple[str, ...]
    normal: tuple[str, ...] = ()

    def __post_init__(self):
        texts = (self.name, self.question, self.normal_answer, self.anomalous_answer, *self.abnormal, *self.normal)
        if not all(isinstance(text, str) and text for text in texts):
            raise ValueError(f"detection prompt {self.name!r} has a part that is no text, or an empty one")
        missing = [word for word in (*self.abnormal, *self.normal) if not list(occurrences(self.question, word))]
        if missing or not self.abnormal:
            what = f"lacks the keywords {missing}" if missing else "has no abnormal keywords"
            raise ValueError(f"detection prompt {self.name!r} {what}; its maps are read from them")

    def verdict(self, defective: bool) -> str:
        """The answer that says so."""
        return self.anomalous_answer if defective else self.normal_answer

    def answer_tokens(self, tokenizer: Tokenizer) -> AnswerTokens:
        """Raises InputError where the two answers begin alike, so that no first token tells them apart."""
        normal, anomalous = (tokenizer.encode(answer)[0] for answer in (self.normal_answer, self.anomalous_answer))
        if normal == anomalous:
            raise InputError(
                f"detection prompt {self.name!r}: its answers {self.normal_answer!r} and {self.anomalous_answer!r} "
                "begin with the same token; choose answers that do not"
            )
        return AnswerTokens(normal, anomalous)

    def to_dict(self) -> dict:
        """As JSON."""
        return dataclasses.asdict(self) | {"abnormal": list(self.abnormal), "normal": list(self.normal)}


def occurrences(text: str, word: str) -> Iterator[tuple[int, int]]:
    """Character spans of `word`, given in lower case, as a whole word ("normal" does not occur in "abnormal")."""
    lowered, at = text.lower(), 0
    while (at := lowered.find(word, at)) >= 0:
        end = at + len(word)
        if not (at and lowered[at - 1].isalpha()) and not lowered[end : end + 1].isalpha():
            yield at, end
        at = end


NORMALITY = DetectionPrompt(
    name="normality",
    question="Is the last image normal, flawless, without defect, anomaly or abnormal part?",
    normal_answer="Yes",
    anomalous_answer="No",
    abnormal=("defect", "anomaly", "abnormal"),
    normal=("normal", "flawless"),
)
DEFECTS = DetectionPrompt(  # that of the VisA-D&R benchmark; Yes means anomalous
    name="defects",
    question="Are there any defects for the object in the image? Please reply with 'Yes' or 'No'.",
    normal_answer="No",
    anomalous_answer="Yes",
    abnormal=("defects",),
)

PROMPTS = {prompt.name: prompt for prompt in (NORMALITY, DEFECTS)}


def named_prompt(name: str) -> DetectionPrompt:
    """A prompt of PROMPTS. Raises InputError for another name."""
    if name not in PROMPTS:
        raise InputError(f"no detection prompt {name!r}; choose one of {', '.join(PROMPTS)}")
    return PROMPTS[name]


def prompt_of(info: Mapping, where: str = "the model's files") -> DetectionPrompt:
    """The prompt of a model or a product, from what its files say; NORMALITY where they say nothing.

    where: what an InputError calls the files.

    Raises InputError where they hold something else.
    """
    values = info.get(INFO_KEY)
    if values is None:
        return NORMALITY
    try:
        return DetectionPrompt(**dict(values) | {key: tuple(values[key]) for key in ("abnormal", "normal")})
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{INFO_KEY} in {where} cannot be used ({error}); restore what was written") from error

"""One question to an OpenAI-compatible endpoint, sent once; what came back is sorted into a handful of outcomes.

The `openai` client sends it. Its own retries are off: whether a question is sent again is for the caller to decide,
who keeps the ledger. The key comes from the environment, is handed to the client, and is cut out of every message.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from iadgpt_jax.endpoint.ledger import Answer
from iadgpt_jax.errors import InputError
from iadgpt_jax.optional import optional

_JPEG_QUALITY = 90
_REFUSING = re.compile(
    r"((i[’']?m|i am|we[’']?re) )?((very|so) )?sorry\b|as an ai\b"
    r"|(unfortunately,? )?i (can ?not|can[’']t|won[’']t|am unable|am not able)\b|i[’']m (unable|not able)\b",
    re.IGNORECASE,
)
_FILTERED = ("content_filter", "content_policy_violation", "moderation")
_REJECTING = (400, 413, 415, 422)  # may be this image's fault alone
_HOPELESS = ("insufficient_quota", "billing_hard_limit_reached")  # 429s that waiting does not mend


@dataclass(frozen=True)
class Reply:
    """An answer or a refusal, and the tokens it took; 0 where the endpoint did not say."""

    answer: Answer
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Useless:
    """An answer that was billed and cannot be used."""

    why: str
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class TurnedAway:
    """Nothing was billed; after: the seconds the endpoint asks to wait, or None."""

    why: str
    after: float | None = None


@dataclass(frozen=True)
class Rejected:
    """The endpoint will not take this question, and nothing was billed; asking again is of no use."""

    why: str


@dataclass(frozen=True)
class Lost:
    """Nobody knows what became of the question: a time-out, a connection cut, a body that is not whole."""

    why: str


Outcome = Reply | Useless | TurnedAway | Rejected | Lost


class Unusable(Exception):
    """A reader's word that an answer is not what was asked for; says in what way."""


@dataclass(frozen=True)
class Question:
    """A chat to be completed. messages: as the API has them. prompt_tokens: it takes at most about so many.

    read: (text, whether it was cut off at max_tokens) -> what is kept of the answer. It raises Unusable where the text
    is no answer; a refusal is recognised without it.
    """

    messages: Sequence[dict[str, Any]]
    max_tokens: int
    prompt_tokens: int
    read: Callable[[str, bool], str]


class Endpoint:
    """A model behind an endpoint. Threads may ask at once.

    Args:
      url: where it is; None: OpenAI's own, or what OPENAI_BASE_URL says. key_variable: the environment variable with
      the key. timeout: seconds to wait for an answer.

    Raises InputError where `openai` is not installed or the variable is not set.
    """

    def __init__(self, model: str, url: str | None, key_variable: str, timeout: float):
        self._openai = optional("openai", "openai", "endpoint")
        self._key = os.environ.get(key_variable, "").strip()
        if not self._key:
            raise InputError(
                f"the environment variable {key_variable} is not set; put the endpoint's key there (any word, for a "
                "server without keys)"
            )
        self.model = model
        self._length_field = "max_tokens"  # what every server knows; some models want the newer name
        self._client = self._openai.OpenAI(api_key=self._key, base_url=url or None, timeout=timeout, max_retries=0)

    def ask(self, question: Question, request: str) -> Outcome:
        """Ask once. request: the same for the same request sent again, so that an endpoint that honours
        Idempotency-Key bills it once.

        Raises InputError where asking again is of no use: a wrong key, an unknown model, no money left.
        """
        openai, length_field = self._openai, self._length_field
        try:
            completion = self._client.chat.completions.create(
                model=self.model,
                messages=list(question.messages),
                extra_headers={"Idempotency-Key": request},
                extra_body={length_field: question.max_tokens},
            )
        except openai.RateLimitError as error:
            if error.code in _HOPELESS:
                raise InputError(f"the endpoint says: {self._told(error)}; see to its account and go on") from error
            return TurnedAway(self._told(error), _seconds(error.response.headers.get("retry-after")))
        except openai.APIStatusError as error:
            return self._status(error, length_field)
        except openai.APIConnectionError as error:  # time-outs are among them
            never_sent = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
            return (TurnedAway if never_sent else Lost)(self._told(error))
        except (ValueError, openai.APIResponseValidationError) as error:
            return Lost(f"no whole JSON in the answer: {self._told(error)}")
        return read_completion(completion, question.read)

    def _status(self, error: Any, length_field: str) -> Outcome:
        """What a status of 400 and more means."""
        told = self._told(error)
        if error.code in _FILTERED:
            return Reply(Answer(refused=f"the endpoint filters it: {told}"), 0, 0)
        if error.status_code in (408, 409) or error.status_code >= 500:
            return TurnedAway(told, _seconds(error.response.headers.get("retry-after")))
        if error.status_code == 400 and "max_completion_tokens" in told and length_field == "max_tokens":
            self._length_field = "max_completion_tokens"
            return TurnedAway(told, 0.0)
        if error.status_code in _REJECTING:
            return Rejected(told)
        raise InputError(
            f"the endpoint refuses every question: {told}; check its address, the model's name and the key"
        )

    def _told(self, error: Exception) -> str:
        """An error in one short line, without the key."""
        message = " ".join(str(error).replace(self._key, "…").split())[:300]
        return message if message else type(error).__name__


def read_completion(completion: Any, read: Callable[[str, bool], str]) -> Outcome:
    """What a completion says, as `Question.read` takes it. It may come from anywhere: nothing about it is taken for
    granted."""
    try:
        choice, usage = completion.choices[0], completion.usage
        text, finish = choice.message.content or "", choice.finish_reason
        refusal = getattr(choice.message, "refusal", None)
        used = (int(usage.prompt_tokens), int(usage.completion_tokens)) if usage else (0, 0)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        return Lost(f"no completion in the answer: {error}")
    if refusal or finish == "content_filter":
        return Reply(Answer(refused=" ".join((refusal or "the endpoint filters it").split())), *used)
    told = json_in(text)
    if isinstance(told, dict) and told.get("refusal"):
        return Reply(Answer(refused=" ".join(str(told["refusal"]).split())), *used)
    try:
        answer = read(text, finish == "length")
    except Unusable as error:
        if _REFUSING.match(text.strip()):
            return Reply(Answer(refused=" ".join(text.split())), *used)
        return Useless(str(error), *used)
    if _REFUSING.match(answer):
        return Reply(Answer(refused=answer), *used)
    return Reply(Answer(answer), *used)


def data_url(image: np.ndarray, side: int) -> str:
    """A photograph uint8[H, W, 3] as a JPEG in a data URL, reduced to at most `side` pixels a side."""
    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def json_in(text: str) -> Any:
    """The JSON in a text, which may stand between fences; None where there is none."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", text, re.DOTALL)
    try:
        return json.loads(fenced[1] if fenced else text)
    except ValueError:
        return None


def _seconds(header: str | None) -> float | None:
    """Seconds of a Retry-After header; None where it is missing or a date."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None

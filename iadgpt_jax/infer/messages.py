"""Chats in the transformers format -> what the encoder takes: runs of text and images, in the template's order.

    [{"role": "user", "content": [{"type": "image", "image": path or PIL image}, {"type": "text", "text": "…"}]}]

Content may also be a plain string. The result equals the published chat template with generation prompt, but for what
would be special tokens in the texts of a message: those stay words, or a text could end its turn and speak for another.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from iadgpt_jax.data.chat import CLOSING, SYSTEM, opening
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.image_input import as_image

Messages = Sequence[Mapping]
ROLES = ("system", "user", "assistant")
MOST_CHARACTERS = 20_000  # of a question or a chat's texts: attention's memory grows with their square
_IMAGE_TOKENS = ("<|image_pad|>", "<|video_pad|>")


def parts_of(messages: Messages, plain: Callable[[str], str]) -> list[str | np.ndarray]:
    """Text and uint8[H, W, 3] photographs, no two texts side by side. plain: makes words of special tokens
    (Tokenizer.plain). Raises InputError naming the message, and for texts that are too long."""
    if not isinstance(messages, list | tuple):
        raise InputError(f"the chat is a {type(messages).__name__}; expected a list of messages")
    if not messages:
        raise InputError("the chat is empty; give at least one message of the user")
    parts: list[str | np.ndarray] = []

    def say(text: str) -> None:
        if parts and isinstance(parts[-1], str):
            parts[-1] += text
        else:
            parts.append(text)

    if _role(messages[0], 0) != "system":
        say(opening("system") + SYSTEM + CLOSING)
    for index, message in enumerate(messages):
        say(opening(_role(message, index)))
        for kind, items in itertools.groupby(_items(message, index), type):
            if kind is str:
                say(plain("".join(items)))  # joined first: a token may be spread over two parts
            else:
                parts.extend(items)
        say(CLOSING)
    say(opening("assistant"))
    check_length(sum(len(part) for part in parts if isinstance(part, str)), "the chat")
    return parts


def check_length(characters: int, what: str) -> None:
    """Raise InputError where a text is too long."""
    if characters > MOST_CHARACTERS:
        raise InputError(
            f"{what} has {characters:,} characters of text, at most {MOST_CHARACTERS:,} can be answered; shorten it"
        )


def turns_of(history: Iterable[tuple[str, str] | Mapping]) -> list[tuple[str, str]]:
    """(question, answer) pairs of a history given as such pairs, or as messages of text, user and assistant in turn.

    Raises InputError for anything else.
    """
    if isinstance(history, str | Mapping) or not isinstance(history, Iterable):
        raise InputError(f"the history is a {type(history).__name__}; expected a list of questions with their answers")
    history = list(history)
    if not all(isinstance(entry, Mapping) for entry in history):
        return [_pair(entry, index) for index, entry in enumerate(history)]
    texts = []
    for index, message in enumerate(history):
        wanted = "assistant" if index % 2 else "user"
        items = _items(message, index)
        if _role(message, index) != wanted or not all(isinstance(item, str) for item in items):
            raise InputError(f"message {index} of the history: expected text of the {wanted}; images go before it")
        texts.append("".join(items))
    if len(texts) % 2:
        raise InputError("the history ends with a question without an answer; pass that one as the question")
    return list(zip(texts[::2], texts[1::2], strict=True))


def _pair(entry, index: int) -> tuple[str, str]:
    """A question and its answer; a text of two letters is no pair."""
    if isinstance(entry, list | tuple) and len(entry) == 2 and all(isinstance(text, str) for text in entry):
        return entry[0], entry[1]
    raise InputError(f"entry {index} of the history is no pair (question, answer) of texts")


def _role(message: Mapping, index: int) -> str:
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(role, str):
        raise InputError(f"message {index} of the chat has no role; expected {{'role': …, 'content': …}}")
    if role not in ROLES:
        raise InputError(f"message {index} of the chat has role {role[:80]!r}; choose one of {', '.join(ROLES)}")
    return role


def _items(message: Mapping, index: int) -> list[str | np.ndarray]:
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, Sequence):
        raise InputError(f"message {index} of the chat has no content; expected text or a list of parts")
    return [_item(part, index) for part in content]


def _item(part, index: int) -> str | np.ndarray:
    if isinstance(part, str):
        part = {"text": part}
    if isinstance(part, Mapping):
        for key in ("image", "path"):
            if part.get(key) is not None:
                return as_image(part[key])
        if isinstance(text := part.get("text"), str):
            if any(token in text for token in _IMAGE_TOKENS):
                raise InputError(
                    f"message {index} of the chat: its text holds an image token; pass the image as a part"
                )
            return text
    raise InputError(
        f"message {index} of the chat: a part is neither a local image nor text; only those two can be read"
    )

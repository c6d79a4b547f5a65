"""OpenAI's chat completions: requests into what an Inspector takes, and its answers back.

Images are data URLs. With "product": NAME, an extension, the first user message carries the one photograph to inspect,
and the question is asked with the product's references, as the model was trained; without it the chat runs on Qwen's
template, at the images' own resolution.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from iadgpt_jax.data.images import MAX_PIXELS
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.generate import Sampling
from iadgpt_jax.infer.inspector import Said
from iadgpt_jax.infer.messages import ROLES
from iadgpt_jax.serve.limits import Limits
from iadgpt_jax.serve.photographs import decoded, of_data_url
from iadgpt_jax.serve.refusals import Refused, invalid

MODEL = "iadgpt"
DEFAULT_TOKENS = 128
MOST_MESSAGES = 200
_NOT_HERE = ("tools", "functions", "stop", "logprobs", "response_format", "audio")


@dataclass(frozen=True)
class ChatRequest:
    """messages: in the transformers format, images as uint8[H, W, 3]. product: "" for none."""

    messages: list[dict]
    product: str
    stream: bool
    max_new: int
    sampling: Sampling


def parse(data: bytes, limits: Limits) -> ChatRequest:
    """The body of a request. Raises Refused for whatever it holds that cannot be answered."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused("invalid_request", f"the body is not JSON ({error})") from error
    if not isinstance(body, Mapping):
        raise Refused("invalid_request", "the body is no JSON object")
    if asked := [name for name in _NOT_HERE if body.get(name)]:
        raise Refused("invalid_request", f"{asked[0]} is not supported; leave it out")
    if body.get("n", 1) not in (1, None):
        raise Refused("invalid_request", "n: one answer is given; ask again for another")
    messages, product = body.get("messages"), body.get("product") or ""
    if not isinstance(messages, list) or not messages or len(messages) > MOST_MESSAGES:
        raise Refused("invalid_request", f"messages: give a list of 1 to {MOST_MESSAGES} messages")
    if not isinstance(product, str):
        raise Refused("invalid_request", "product: give a product's name")
    images: list[np.ndarray] = []
    told = [_message(message, index, images, limits) for index, message in enumerate(messages)]
    most = body.get("max_completion_tokens") or body.get("max_tokens") or min(DEFAULT_TOKENS, limits.tokens)
    most = int(_number(most, "max_tokens", 1, 1 << 20))
    try:
        sampling = Sampling(
            _number(body.get("temperature") or 0, "temperature", 0, 2),
            _number(1 if body.get("top_p") is None else body["top_p"], "top_p", 0, 1),
            int(_number(body.get("seed") or 0, "seed", 0, 2**31 - 1)),
        )  # fmt: skip
    except InputError as error:
        raise invalid(error) from error
    return ChatRequest(told, product, bool(body.get("stream")), min(most, limits.tokens), sampling)


def about_query(messages: list[dict]) -> tuple[np.ndarray, str, list[tuple[str, str]]]:
    """(photograph, question, history) of a chat about one part, as `Inspector.ask` takes them."""
    told = [message for message in messages if message["role"] != "system"]
    images = [part["image"] for message in told for part in message["content"] if part["type"] == "image"]
    texts = ["".join(part.get("text", "") for part in message["content"]) for message in told]
    first = [part["type"] for part in told[0]["content"]] if told else []
    roles = [message["role"] for message in told]
    if len(images) != 1 or "image" not in first or roles != ["user", "assistant"] * (len(told) // 2) + ["user"]:
        raise Refused(
            "invalid_request", "a chat about a product: user and assistant in turn, the last message the question, and "
            "one image, the photograph to inspect, in the first message",
        )  # fmt: skip
    return images[0], texts[-1], list(zip(texts[:-1:2], texts[1::2], strict=True))


class Completion:
    """One answer in OpenAI's form: whole, or in chunks."""

    def __init__(self):
        self.head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": MODEL}

    def whole(self, said: Said) -> dict:
        message = {"role": "assistant", "content": said.text}
        choice = {"index": 0, "message": message, "finish_reason": _reason(said)}
        return self.head | {"object": "chat.completion", "choices": [choice]}

    def chunk(self, text: str) -> bytes:
        return self._event({"role": "assistant", "content": text}, None)

    def end(self, said: Said) -> bytes:
        return self._event({}, _reason(said)) + b"data: [DONE]\n\n"

    @staticmethod
    def failed(refused: Refused) -> bytes:
        """Once the answer has begun, a failure can only be an event."""
        return b"data: " + json.dumps(refused.body).encode() + b"\n\n"

    def _event(self, delta: dict, reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = self.head | {"object": "chat.completion.chunk", "choices": [choice]}
        return b"data: " + json.dumps(chunk, ensure_ascii=False).encode(errors="replace") + b"\n\n"


def _reason(said: Said) -> str:
    return "stop" if said.whole else "length"


def _message(message: object, index: int, images: list[np.ndarray], limits: Limits) -> dict:
    """A message whose content is a list of {"type": "text", "text"} and {"type": "image", "image"}: no part may name a
    file, which the Inspector would read."""
    where = f"message {index} of the chat"
    role = message.get("role") if isinstance(message, Mapping) else None
    if role not in ROLES:
        raise Refused("invalid_request", f"{where}: choose one of the roles {', '.join(ROLES)}")
    content = message.get("content")
    content = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(content, list):
        raise Refused("invalid_request", f"{where} has no content; give text or a list of parts")
    parts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
        elif kind == "image_url" and isinstance(part.get("image_url"), Mapping):
            if len(images) == limits.chat_images:
                raise Refused("too_large", f"the chat has more than {limits.chat_images} images; leave some out")
            data = of_data_url(part["image_url"].get("url"))
            images.append(decoded(data, f"the image in {where}", images, MAX_PIXELS))
            parts.append({"type": "image", "image": images[-1]})
        else:
            raise Refused("invalid_request", f"{where}: a part is neither text nor an image_url")
    return {"role": role, "content": parts}


def _number(value: object, name: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("invalid_request", f"{name} is no number")
    if not least <= value <= most:  # nor is NaN; a whole number may be larger than any float
        raise Refused("invalid_request", f"{name} is {str(value)[:40]}; choose {least:g} to {most:g}")
    return float(value)

"""Damage to valid input, drawn from a random generator: bytes, JSON values, text."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, MutableMapping, MutableSequence
from random import Random
from typing import Any

# What parsers stumble over: limits of integers, numbers that are none, halves of characters, names of other things.
TEXTS = (
    "", " ", "\0", "\n", "\x1b[31m", "é", "\ud800", "\u202e", "a" * 5000, "..", "../../etc/passwd", "/", "/etc/passwd",
    "0", "-1", "1e400", "nan", "inf", "null", "true", "None", "[]", "{}", "(", "__class__", "<|im_end|>", "%s", "*",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 3, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, 1e-320,
           float("nan"), float("inf"))  # fmt: skip
WHOLES = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)


def bytes_of(data: bytes, rng: Random) -> bytes:
    """One to four changes: bits flipped, bytes set, stretches cut out, doubled or overwritten, the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change(changed, rng)
    return bytes(changed)


def _change(data: bytearray, rng: Random) -> None:
    if not data:
        data += rng.randbytes(rng.randrange(20))
        return
    # Headers decide what happens: half of the changes are near the beginning.
    at = rng.randrange(min(len(data), 64) if rng.random() < 0.5 else len(data))
    length = min(rng.choice((1, 2, 4, 16, 200)), len(data) - at)
    kind = rng.randrange(8)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    elif kind == 2:
        del data[at : at + length]
    elif kind == 3:
        data[at:at] = data[at : at + length]
    elif kind == 4:
        data[at : at + length] = rng.randbytes(length)
    elif kind == 5:
        del data[at:]
    elif kind == 6:
        order = rng.choice(("little", "big"))
        data[at : at + 4] = (rng.choice(WHOLES) % 2**32).to_bytes(4, order)
    else:
        data[at:at] = rng.randbytes(length)


def json_of(value: Any, rng: Random) -> Any:
    """A copy of a JSON value in which one to three places hold something else, or are missing or doubled."""
    holder = [copy.deepcopy(value)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(holder))
        container, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0 and container is not holder:
            del container[key]
        elif kind == 1 and isinstance(container, dict):
            container[rng.choice(TEXTS)] = container[key]
        elif kind == 2:
            container[key] = [container[key]] if rng.random() < 0.5 else {"value": container[key]}
        elif kind == 3:
            container[key] = copy.deepcopy(rng.choice(places)[0])
        else:
            container[key] = anything(rng)
    return holder[0]


def _places(container: MutableMapping | MutableSequence):
    """(container, key) of every value, however deep."""
    keys = list(container) if isinstance(container, dict) else range(len(container))
    for key in keys:
        yield container, key
        if isinstance(container[key], dict | list):
            yield from _places(container[key])


def anything(rng: Random) -> Any:
    """A JSON value of any kind."""
    made: tuple[Callable[[], Any], ...] = (
        lambda: None, lambda: rng.choice((True, False)), lambda: rng.choice(NUMBERS), lambda: rng.choice(TEXTS),
        lambda: [], lambda: {}, lambda: [rng.choice(NUMBERS), rng.choice(TEXTS)], lambda: {rng.choice(TEXTS): None},
        lambda: nested(rng.choice((3, 200))),
    )  # fmt: skip
    return rng.choice(made)()


def nested(depth: int) -> list:
    """A list in a list in a list …"""
    made: list = []
    for _ in range(depth):
        made = [made]
    return made


def json_bytes(value: Any, rng: Random) -> bytes:
    """A changed JSON value as bytes; every fourth is changed as bytes instead."""
    if rng.random() < 0.25:
        return bytes_of(json.dumps(value).encode(), rng)
    return json.dumps(json_of(value, rng), ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")

"""Where tokens stand in (time, height, width), and where text goes on behind an image: the two rules, once.

"qwen" is Qwen's M-RoPE: text advances along all three axes, and after an image it goes on behind the image's longer
side. "aligned": only time ever advances, by one behind an image, so that height and width start at 0 for every image
and text stands at the same distance from each. Arrays or plain integers: everything here works on both.
"""

from __future__ import annotations

STEPS = {"qwen": (1, 1, 1), "aligned": (1, 0, 0)}  # how far (time, height, width) advance with one token of text


def text_position(rule: str, at):
    """(time, height, width) of text number `at`, and of the first token of an image that stands there."""
    return tuple(at * step for step in STEPS[rule])


def after_image(rule: str, at: int, grid: tuple[int, int]) -> int:
    """The position of the text behind an image of grid = (high, wide) merged tokens that stands at `at`. Compressed or
    not, an image takes as many: what comes later keeps its position."""
    return at + (1 if rule == "aligned" else max(grid))

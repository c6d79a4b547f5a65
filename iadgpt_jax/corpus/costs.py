"""What descriptions cost: an estimate before anything is asked, and prices of what was used.

    a question = (tokens of the words + tokens of the image) x input price + tokens of the answer x output price

Prices are those of endpoint/prices.py.
"""

from __future__ import annotations

import math

from iadgpt_jax.corpus.prompts import Prompts
from iadgpt_jax.endpoint.prices import CHARACTERS_PER_TOKEN, Prices

TYPICAL_ANSWER = 0.4  # of max_tokens; only the estimate uses it, the cap counts with all of them


def image_tokens(side: int) -> int:
    """At most so many tokens an image of side x side pixels takes: the larger of two common ways to count, patches of
    28 x 28 pixels, and 85 plus 170 for every tile of 512 x 512. A model that takes more is measured by the first
    answer's usage."""
    patches, tiles = math.ceil(side / 28) ** 2, math.ceil(side / 512) ** 2
    return max(patches, 85 + 170 * tiles)


def prompt_tokens(prompts: Prompts) -> int:
    """At most so many tokens a question takes, with its image."""
    longest = max(map(len, prompts.perspectives.values())) + len(prompts.system)
    return math.ceil(longest / CHARACTERS_PER_TOKEN) + image_tokens(prompts.image_side)


def estimate(questions: int, prompts: Prompts, prices: Prices, measured: int = 0) -> float:
    """What so many questions will cost. measured: tokens of a question as the endpoint counted them, 0: none yet."""
    return questions * prices.of(measured or prompt_tokens(prompts), TYPICAL_ANSWER * prompts.max_tokens)

"""The margin above which a part is rejected, chosen from good parts alone.

Of n good parts, the m-th smallest margin is exceeded by a further good part of the same kind with probability
1 − m / (n + 1), whatever the margins' distribution. So the threshold for a share s is the ceil(s · (n + 1))-th
smallest margin, and n good parts can vouch for a share of n / (n + 1) at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.margin import probability

SHARE = 0.95  # of good parts that shall pass, unless told


@dataclass(frozen=True)
class Threshold:
    """margin: a part whose margin lies above it is rejected. share: of good parts that shall pass; None where no good
    part was measured, and the margin is 0: the likelier answer decides. good: the margins of the good parts that it was
    chosen from, in rising order."""

    margin: float = 0.0
    share: float | None = None
    good: tuple[float, ...] = ()

    @property
    def score(self) -> float:
        """The margin as a probability, in [0, 1]: for people."""
        return probability(self.margin)

    @property
    def vouched(self) -> float | None:
        """The share of further good parts that so many measured ones can vouch for: `share`, or less where they are
        few."""
        return None if self.share is None else min(self.share, len(self.good) / (len(self.good) + 1))

    def rejects(self, margin: float) -> bool:
        """Whether a part with this margin is judged defective. One that is no number (NaN) passes nothing."""
        return not margin <= self.margin

    def __str__(self) -> str:
        if self.share is None:
            return "score above 0.5, the likelier answer: no good part was measured"
        share = percent(self.share)
        told = f"score above {self.score:.3f}: {share} of good parts stay below, by {len(self.good)} good parts"
        return told if self.vouched == self.share else f"{told} (they can vouch for {percent(self.vouched)})"


def percent(share: float) -> str:
    """A share below 1 with three digits that count, or as many more as tell it from all: 95%, 99.5%, 99.95%."""
    written = (f"{100 * share:.{digits}g}" for digits in range(3, 18))
    return f"{next(text for text in written if float(text) < 100)}%"


def choose_threshold(good: Sequence[float], share: float = SHARE) -> Threshold:
    """The threshold that the share `share` of good parts stays below or at, by the margins of some of them; with none,
    that of the likelier answer.

    Raises:
      InputError: the share is not above 0 and below 1.
    """
    check_share(share)
    if not len(good):
        return Threshold()
    good = tuple(sorted(float(margin) for margin in good))
    # 1e-9: 0.95 · 20 is 19 and not, as a binary fraction above it, the 20th.
    rank = min(math.ceil(share * (len(good) + 1) - 1e-9), len(good))
    return Threshold(good[rank - 1], share, good)


def check_share(share: float) -> None:
    """Raise InputError for a share that is not above 0 and below 1."""
    if not 0 < share < 1:
        raise InputError(
            f"the share of good parts that shall pass is {share}; choose it above 0 and below 1, as {SHARE}"
        )

"""Paper eq. 4, in its one place: how much likelier the answer that means anomalous is than the other.

The margin, the log-odds of the two answers at the first answer position, is what is ranked, stored and compared. The
probability is for people: in float32 it is 1 for every margin above 17, so that the surest verdicts would tie.
"""

from __future__ import annotations

import numpy as np

from iadgpt_jax.data.detection_prompt import AnswerTokens


def margin_of(logits, answers: AnswerTokens):
    """logits float32[..., V], numpy or jax, at the slot that predicts the first answer token -> float32[...].

    Above 0: anomalous. Equal to log(p / (1 − p)) of `probability`, but computed without it.
    """
    return logits[..., answers.anomalous] - logits[..., answers.normal]


def probability(margin: float) -> float:
    """Of the answer that means anomalous, renormalised over the two: in [0, 1], float64."""
    return float(np.exp(-np.logaddexp(0.0, -np.float64(margin))))

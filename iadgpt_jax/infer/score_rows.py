"""Rows -> margins and raw anomaly maps, in one forward pass (paper eq. 4 and 5).

Suffixes: B rows, M map queries per row, N merged tokens of the query image.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from iadgpt_jax.data.detection_prompt import AnswerTokens
from iadgpt_jax.infer.margin import margin_of
from iadgpt_jax.models.attention import Lanes
from iadgpt_jax.models.protocols import Model
from iadgpt_jax.models.rows import Rows, take_slots


def make_score_rows(
    model: Model, lanes: Lanes | None, answers: AnswerTokens, map_space: str = "probability"
) -> Callable[[dict, Rows], tuple[jax.Array, jax.Array]]:
    """(params, rows) -> (margins float32[B, M], maps float32[B, M, N]).

    Margins are those of infer/margin.py. Maps are raw mean attention of the abnormal words: an affine map per category
    changes no AUROC, so nothing is normalised here. A model trained with map_space "logit" and not yet with the paper's
    form is read in the form it was trained in: the sigmoid of the mean pre-softmax logits.
    """

    def score(params, rows: Rows):
        outputs = model.apply({"params": params}, rows, lanes)
        hidden = take_slots(outputs.hidden, rows.answer_slots)
        logits = model.apply({"params": params}, hidden, method="logits")
        margins = margin_of(logits, answers)
        if map_space == "logit":
            return margins, jax.nn.sigmoid(outputs.logit_maps[:, :, 0].astype(jnp.float32))
        return margins, outputs.probability_maps[:, :, 0].astype(jnp.float32)

    return score

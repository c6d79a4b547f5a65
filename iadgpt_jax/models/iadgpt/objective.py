"""What an IADGPT is trained for: answers (cross-entropy) and, where a stage supervises them, maps (losses.py).

Suffixes: B rows, M map queries per row, N map cells, P parts of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.answer_loss import answer_losses, by_word, check_chunks, chunked_answer_losses, weighted_mean
from iadgpt_jax.models.attention import Lanes
from iadgpt_jax.models.iadgpt.losses import MAP_SPACES, LossWeights, map_loss
from iadgpt_jax.models.iadgpt.model import IADGPT, Outputs
from iadgpt_jax.models.rows import Rows, take_slots


class Totals(NamedTuple):
    """What a loss must know of the whole batch where it sees but a part: the weight of all targets and the number of
    valid maps, float32[]."""

    targets: jax.Array
    maps: jax.Array


@dataclass(frozen=True)
class AnswersAndMaps:
    """The loss, called by train/step.py: (params, rows) -> (loss float32[], its parts by name).

    lanes: how the rows are cut. map_space: one of losses.MAP_SPACES, or "none". vocab_chunks: parts of the vocabulary
    whose logits exist at a time.
    """

    model: IADGPT
    lanes: Lanes | None
    weights: LossWeights
    map_space: str
    vocab_chunks: int = 1

    @property
    def maps(self) -> bool:
        """Whether maps are supervised."""
        return self.map_space != "none"

    def __call__(self, params, rows: Rows, totals: Totals | None = None, slopes: jax.Array | None = None):
        """Where rows are a part of a batch, totals and slopes are of `before_parts`: with slopes the maps' part is
        linear, and left out of the parts by name."""
        outputs = self.model.apply({"params": params}, rows, self.lanes, self.maps)
        hidden = take_slots(outputs.hidden, rows.target_slots)
        if self.vocab_chunks > 1:
            table = self.model.apply({"params": params}, method=IADGPT.vocabulary)
            losses = chunked_answer_losses(hidden, table, self.vocab_chunks, rows.target_ids)
        else:
            logits = self.model.apply({"params": params}, hidden, method=IADGPT.logits)
            losses = answer_losses(logits, rows.target_ids)
        answer = weighted_mean(losses, rows.target_weights, totals and totals.targets)
        parts = {"answer": answer, **by_word(losses, rows.target_words)}
        total = self.weights.answer * parts["answer"]
        if slopes is not None:
            return total + (self._maps(outputs) * slopes).sum(), {"loss": total, **parts}
        if self.maps:
            of_maps, more = self._map_loss(self._maps(outputs), rows, totals)
            total += of_maps
            parts |= more
        return total, {"loss": total, **parts}

    def before_parts(self, params, rows: Rows, parts: Rows):
        """What must be known of a whole batch before its parts [P, B / P, ...] are taken one by one: (Totals, for every
        part slopes float32[P, B / P, M, 2, N] or None, the loss's parts that are known already).

        The paper's maps (eq. 5) are normalised by the lowest and highest value of the whole batch: one more forward
        pass reads all maps, their loss is taken once over all of them, and `slopes` is its gradient by raw maps.
        """
        slopes, known = None, {}
        if self.map_space == "probability":

            def read(_, part: Rows):
                return None, self._maps(self.model.apply({"params": params}, part, self.lanes, True))

            def of_all(maps):
                return self._map_loss(maps.reshape(-1, *maps.shape[2:]), in_turn, None)

            in_turn = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), parts)
            _, maps = jax.lax.scan(read, None, parts)
            (loss, more), slopes = jax.value_and_grad(of_all, has_aux=True)(maps)
            known = {"loss": loss, **more}
        return Totals(rows.target_weights.sum(), rows.map_valid.sum()), slopes, known

    def _maps(self, outputs: Outputs) -> jax.Array:
        """The raw maps that are supervised, float32[B, M, 2, N]."""
        return outputs.logit_maps if self.map_space == "logit" else outputs.probability_maps

    def _map_loss(self, maps, rows: Rows, totals: Totals | None):
        return map_loss(maps, rows.masks, rows.map_valid, self.map_space, self.weights, totals and totals.maps)


def objective(model: IADGPT, lanes: Lanes | None, config) -> AnswersAndMaps:
    """That of a stage: `loss`, `map_space` and `vocab_chunks` of its configuration (configs/common.py).

    Raises:
      InputError: the vocabulary does not divide into as many chunks.
    """
    check_chunks(model.config.language.vocab, config.vocab_chunks)
    return AnswersAndMaps(model, lanes, LossWeights(**config.loss), config.map_space, config.vocab_chunks)


def record(config) -> dict:
    """What a checkpoint says of a stage, so that the model is read in the form it was trained in."""
    return {"map_space": config.map_space}


def check(config) -> None:
    """Refuse a stage whose configuration names no such objective.

    Raises:
      InputError: there is no such map space.
    """
    if config.map_space not in (*MAP_SPACES, "none"):
        raise InputError(f"config.map_space is {config.map_space!r}: choose {', '.join(MAP_SPACES)} or none")

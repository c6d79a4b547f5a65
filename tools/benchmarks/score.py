"""score: 4-shot inspection of one category, scores and maps. Ours caches the references; the peer has them in every
prompt.

The exported twin, which caches the references in transformers' KV cache, is measured too.
"""

from __future__ import annotations

import jax
import numpy as np
import torch

from iadgpt_jax.data.detection_prompt import AnswerTokens
from iadgpt_jax.data.pack import RowShape
from iadgpt_jax.evaluate.evaluator import AT_ONCE
from iadgpt_jax.flops import score_flops
from iadgpt_jax.infer.scorer import Scorer
from iadgpt_jax.models.attention import Lanes
from tools.benchmarks.measure import Measurement, interleaved
from tools.benchmarks.pair import Pair
from tools.benchmarks.prompts_torch import Batch, Prompt, batch_of, maps_of

REFERENCES, QUERIES = 4, 48
PEER_BATCHES = (1, 4)


def score(pair: Pair) -> Measurement:
    references, queries = pair.photographs(REFERENCES), pair.photographs(QUERIES, seed=1)
    scorer = Scorer(pair.model, pair.compute_params, pair.encoder)
    peer = pair.peer("eager")

    def ours() -> tuple[np.ndarray, np.ndarray]:
        return cached_scores(scorer, references, queries)

    prompts = [Prompt(pair.inspection(references, [query], answered=False), [*references, query]) for query in queries]
    batches = {
        size: [batch_of(prompts[at : at + size], pair.config, pair.device) for at in range(0, QUERIES, size)]
        for size in PEER_BATCHES
    }

    def theirs(size: int) -> tuple[np.ndarray, np.ndarray]:
        parts = [inspect(peer, batch, scorer.answers) for batch in batches[size]]
        margins, maps = zip(*parts, strict=True)
        return torch.cat(margins).cpu().numpy(), torch.cat(maps).cpu().numpy()

    agreement = {}
    pairs = zip(("margins", "maps"), ours(), theirs(PEER_BATCHES[0]), bounds(pair), strict=True)
    for what, mine, other, bound in pairs:
        agreement[what] = (float(np.abs(mine - other).max()), bound)
    seconds = {size: min(runs) for size, runs in interleaved({n: lambda n=n: theirs(n) for n in batches}, 1).items()}
    best = min(seconds, key=seconds.get)
    twin = pair.peer("sdpa")

    def cached() -> None:
        twin.inspect_many(queries, references, explain=False)

    return Measurement(
        name="score", unit="ms per query", pieces=QUERIES, ours=ours, peer=lambda: theirs(best), agreement=agreement,
        work=f"scores and maps of {QUERIES} queries of one category against {REFERENCES} references, {pair.side} "
        f"pixels, prefill of the references in every run; prompts of {prompts[0].encoded.slots} tokens; the peer in "
        f"batches of {best}, its faster way",
        target=4.0, others={"PyTorch twin, references cached": cached}, flops=_flops(pair, prompts[0]),
    )  # fmt: skip


def bounds(pair: Pair) -> tuple[float, float]:
    """How far margins and maps may differ. A margin moves at least four times as far as its probability."""
    return (8e-2, 2e-2) if pair.on_gpu else (4e-5, 1e-5)


def cached_scores(
    scorer: Scorer, references: list[np.ndarray], queries: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(margins float32[Q], maps float32[Q, N]) of queries against cached references, the prefill included."""
    prefix = scorer.prefill(references)
    parts = [
        scorer.score(prefix, scorer.encode_images(queries[at : at + AT_ONCE], AT_ONCE))
        for at in range(0, len(queries), AT_ONCE)
    ]
    margins, maps = zip(*jax.device_get(parts), strict=True)
    return np.concatenate(margins)[: len(queries), 0], np.concatenate(maps)[: len(queries), 0]


@torch.inference_mode()
def inspect(model, batch: Batch, answers: AnswerTokens) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts of one length -> (margin float32[B], abnormal map float32[B, N])."""
    out = model(**batch.inputs, output_attentions=True, use_cache=False, logits_to_keep=1)
    logits = out.logits[:, -1].float()
    return logits[:, answers.anomalous] - logits[:, answers.normal], maps_of(out.attentions, batch)[:, 0]


def _flops(pair: Pair, prompt: Prompt) -> float:
    encoded = prompt.encoded
    lanes = Lanes(len(encoded.shared), ((QUERIES, len(encoded.blocks[0].segment)),))
    shape = RowShape(
        slots=lanes.slots, images=REFERENCES + QUERIES, patches=pair.patches, maps=QUERIES,
        keyword_rows=len(encoded.blocks[0].keyword_rows), targets=1, mask_side=1, lanes=lanes,
    )  # fmt: skip
    return score_flops(pair.config, shape, 1)

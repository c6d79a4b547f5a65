"""generate: greedy answers about two photographs, in batches, against transformers' generate with SDPA attention."""

from __future__ import annotations

import numpy as np
import torch
from transformers import GenerationConfig

from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.infer.generate import Generator
from tools.benchmarks.measure import Measurement
from tools.benchmarks.pair import Pair
from tools.benchmarks.prompts_torch import Prompt, batch_of

ANSWERS, NEW = 4, 64
NEVER = -1  # an end token that never occurs, so that both sides generate all NEW tokens


def generate(pair: Pair) -> Measurement:
    asked = []
    for number in range(ANSWERS):
        reference, query = pair.photographs(2, seed=number)
        block = Block((Turn(prompts.REASON),), (query,), 1)
        asked.append(Prompt(pair.encoder(Instance("explain", (block,), (reference,))), [reference, query]))
    generator = Generator(pair.model, pair.compute_params, (NEVER,))
    peer, batch = pair.peer("sdpa"), batch_of(asked, pair.config, pair.device)
    peer.generation_config.eos_token_id = None  # otherwise it would replace the None below
    how = GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=None, pad_token_id=0)
    length = batch.inputs["input_ids"].shape[1]

    def ours() -> np.ndarray:
        return np.array([blocks[0] for blocks in generator([prompt.encoded for prompt in asked], NEW)])

    @torch.inference_mode()
    def theirs() -> np.ndarray:
        return peer.generate(**batch.inputs, generation_config=how)[:, length:].cpu().numpy()

    different = int((ours() != theirs()).sum())
    return Measurement(
        name="generate", unit="ms per token", pieces=ANSWERS * NEW, ours=ours, peer=theirs,
        # In bfloat16 two nearly equal logits can change places, and everything generated after them changes, too.
        agreement={"tokens": (float(different), ANSWERS * NEW if pair.on_gpu else 0.0)},
        work=f"{ANSWERS} answers of {NEW} tokens in one batch, prompts of {length} tokens with two photographs of "
        f"{pair.side} pixels, prefill included",
        target=1.0,
    )  # fmt: skip

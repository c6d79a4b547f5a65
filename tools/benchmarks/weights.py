"""import: from a Hugging Face directory in bfloat16 to the float32 arrays that training starts from."""

from __future__ import annotations

import shutil

import jax
import numpy as np
import torch

from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.convert.hf_export import export_hf
from tools.benchmarks.measure import Measurement
from tools.benchmarks.pair import Pair


def weights(pair: Pair) -> Measurement:
    from iadgpt_jax.convert.torch_twin.modeling_iadgpt import IADGPTForConditionalGeneration

    _ = pair.exported  # for its tokenizer
    directory = pair.directory / "bfloat16"
    shutil.rmtree(directory, ignore_errors=True)
    info = {"image_side": pair.side, "stage": 3}
    export_hf(pair.params, pair.config, pair.directory / "tokenizer", directory, dtype="bfloat16", info=info)
    size = sum(file.stat().st_size for file in directory.glob("*.safetensors"))

    def ours():
        return jax.block_until_ready(load_model(directory, dtype="float32").params)

    def peer():
        return IADGPTForConditionalGeneration.from_pretrained(directory, dtype=torch.float32)

    mine = np.asarray(ours()["language"]["embedding"])
    theirs = peer().get_input_embeddings().weight.detach().numpy()
    return Measurement(
        name="import", unit="s per checkpoint", pieces=1, ours=ours, peer=peer,
        agreement={"embeddings": (float(np.abs(mine - theirs).max()), 0.0)},
        work=f"{size / 1e6:.0f} MB of bfloat16 weights into float32 arrays; files in the page cache", target=None,
    )  # fmt: skip

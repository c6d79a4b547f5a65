"""Our model and its peer, transformers + torch, with the same weights, and the inspections both of them work on.

The peer is transformers' Qwen2.5-VL with IADGPT's fusion hung onto its ViT (convert/torch_twin), everything else as
shipped. Its weights are read from an export of ours. On a GPU both compute in bfloat16, on a CPU in float32.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from iadgpt_jax.convert.hf_export import export_hf
from iadgpt_jax.data.encode import Encoded, Encoder
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.instance import Block, Instance, Turn
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.infer.inspector import lowered
from iadgpt_jax.models.attention import choose
from iadgpt_jax.models.iadgpt.config import ModelConfig
from iadgpt_jax.models.protocols import Model
from iadgpt_jax.models.registry import init_params, make_module, preset
from iadgpt_jax.sharding import ShardingRules, make_mesh

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
SIDES = {"tiny": 112, "bench": 224, "3b": 448, "7b": 448}  # pixels of a photograph, by size
FROZEN = r"^vision/(groups|patch_embed|block_)"  # stage 3 keeps the ViT's blocks (configs/stage3.py)


@dataclass
class Pair:
    """One size in both houses. directory: where the export for the peer goes, and stays."""

    config: ModelConfig
    side: int
    directory: Path

    @classmethod
    def of(cls, size: str, directory: Path) -> Pair:
        # The small tokenizer serves every size: which ids a prompt has changes no cost, and nothing must be fetched.
        return cls(dataclasses.replace(preset(size), tokens=tiny_tokenizer().special), SIDES[size], directory)

    @property
    def on_gpu(self) -> bool:
        return jax.default_backend() == "gpu"

    @property
    def dtype(self) -> jnp.dtype:
        return jnp.dtype(jnp.bfloat16 if self.on_gpu else jnp.float32)

    @property
    def device(self) -> str:
        """The peer's."""
        return "cuda" if self.on_gpu else "cpu"

    @property
    def patches(self) -> int:
        return (self.side // self.config.vision.patch) ** 2

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder(self.config, tiny_tokenizer())

    @cached_property
    def params(self) -> dict:
        """float32 on the host, as drawn for training from scratch; but gates, biases and norms are drawn too, so that
        none of them can go missing unseen."""
        params = jax.device_get(jax.jit(lambda key: init_params(self.config, key))(jax.random.key(0)))
        rng = np.random.default_rng(0)

        def liven(path, leaf):
            spread = {"gates": 0.3, "scale": 0.1, "bias": 0.1}.get(path[-1].key)
            if spread is None:
                return leaf
            return leaf + rng.normal(0.0, spread, leaf.shape).astype(leaf.dtype)

        return jax.tree.map_with_path(liven, params)

    @cached_property
    def compute_params(self) -> dict:
        """`params` on the device, in the dtype they are computed in: for inference."""
        return jax.device_put(lowered(self.params, self.dtype))

    @cached_property
    def model(self) -> Model:
        kernels = choose("auto", make_mesh(devices=jax.devices()[:1]), ShardingRules(), self.dtype)
        # Written out, layers run faster on a CPU; big models must compile in time.
        return make_module(self.config, self.dtype, kernels=kernels, unroll=not self.on_gpu)

    @cached_property
    def exported(self) -> Path:
        """Our weights as a Hugging Face directory with the twin's settings."""
        directory = self.directory / "peer"
        if not directory.exists():
            tiny_tokenizer().save(self.directory / "tokenizer")
            info = {"image_side": self.side, "stage": 3}
            export_hf(self.params, self.config, self.directory / "tokenizer", directory, info=info)
        return directory

    def peer(self, attention: str, dtype: torch.dtype | None = None) -> torch.nn.Module:
        """The peer with its decoder attending by "eager", the only way in which transformers shows attention, or
        "sdpa"; its ViT always by "sdpa". dtype: of its weights; default: what both sides compute in."""
        from iadgpt_jax.convert.torch_twin.modeling_iadgpt import IADGPTForConditionalGeneration

        kind = dtype or (torch.bfloat16 if self.on_gpu else torch.float32)
        how = {"": attention, "text_config": attention, "vision_config": "sdpa"}
        model = IADGPTForConditionalGeneration.from_pretrained(self.exported, dtype=kind, attn_implementation=how)
        return model.eval().to(self.device)

    def photographs(self, count: int, seed: int = 0, side: int | None = None) -> list[np.ndarray]:
        """uint8[side, side, 3]: soft colours under fine grain, all different."""
        rng, side = np.random.default_rng(seed), side or self.side
        pictures = []
        for _ in range(count):
            soft = cv2.resize(rng.uniform(30, 220, (6, 6, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
            pictures.append(np.clip(soft + rng.normal(0, 8, soft.shape), 0, 255).astype(np.uint8))
        return pictures

    def inspection(
        self, references: list[np.ndarray], queries: list[np.ndarray], answered: bool = True, defective: int = 0
    ) -> Encoded:
        """Queries that each see all references. answered: with verdict and mask, as for training; the first query is
        good unless `defective`, and every second one differs (in its upper left quarter)."""
        blocks = []
        for number, query in enumerate(queries, start=defective):
            verdict = mask = None
            if answered:
                verdict = prompts.verdict(bool(number % 2))
                mask = np.zeros(query.shape[:2], np.uint8)
                mask[: self.side // 2, : self.side // 2] = number % 2
            turn = Turn(prompts.DETECT, verdict)
            blocks.append(Block((turn,), (query,), len(references), prompts.KEYWORDS, mask, scored=True))
        return self.encoder(Instance("inspect", tuple(blocks), tuple(references)))

"""Our model and its peer, transformers + torch, with the same weights, and the inputs both of them get.

The peer is transformers' Qwen2.5-VL with IADGPT's fusion added to its ViT (convert/torch_twin), everything else as
shipped. It loads its weights from an export of ours. On a GPU both compute in bfloat16, on a CPU in float32.
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
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance
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
FROZEN = r"^vision/(groups|patch_embed|block_)"  # stage 3 does not train the ViT's blocks (configs/stage3.py)


@dataclass
class Pair:
    """Both models at one size. directory: where the export for the peer is written, and kept."""

    config: ModelConfig
    side: int
    directory: Path

    @classmethod
    def of(cls, size: str, directory: Path) -> Pair:
        # The tiny tokenizer for every size: it needs no download, and token ids do not change what a step costs.
        return cls(dataclasses.replace(preset(size), tokens=tiny_tokenizer().special), SIDES[size], directory)

    @property
    def on_gpu(self) -> bool:
        return jax.default_backend() == "gpu"

    @property
    def dtype(self) -> jnp.dtype:
        return jnp.dtype(jnp.bfloat16 if self.on_gpu else jnp.float32)

    @property
    def device(self) -> str:
        """The peer's device, as torch names it."""
        return "cuda" if self.on_gpu else "cpu"

    @property
    def patches(self) -> int:
        return (self.side // self.config.vision.patch) ** 2

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder(self.config, tiny_tokenizer())

    @cached_property
    def params(self) -> dict:
        """float32 on the host, initialised as for training from scratch, but with random gates, biases and norms, so
        that a conversion that forgot one of them would be noticed."""
        params = jax.device_get(jax.jit(lambda key: init_params(self.config, key))(jax.random.key(0)))
        rng = np.random.default_rng(0)

        def randomize(path, leaf):
            spread = {"gates": 0.3, "scale": 0.1, "bias": 0.1}.get(path[-1].key)
            if spread is None:
                return leaf
            return leaf + rng.normal(0.0, spread, leaf.shape).astype(leaf.dtype)

        return jax.tree.map_with_path(randomize, params)

    @cached_property
    def compute_params(self) -> dict:
        """`params` on the device, in the dtype of computation: for inference."""
        return jax.device_put(lowered(self.params, self.dtype))

    @cached_property
    def model(self) -> Model:
        kernels = choose("auto", make_mesh(devices=jax.devices()[:1]), ShardingRules(), self.dtype)
        # Unrolled layers run faster on a CPU; on a GPU, where models are large, they would take too long to compile.
        return make_module(self.config, self.dtype, kernels=kernels, unroll=not self.on_gpu)

    @cached_property
    def exported(self) -> Path:
        """Our weights as a Hugging Face directory that the twin can load."""
        directory = self.directory / "peer"
        if not directory.exists():
            tiny_tokenizer().save(self.directory / "tokenizer")
            info = {"image_side": self.side, "stage": 3}
            export_hf(self.params, self.config, self.directory / "tokenizer", directory, info=info)
        return directory

    def peer(self, attention: str, dtype: torch.dtype | None = None) -> torch.nn.Module:
        """The peer. attention: of its decoder, "eager" (the only one that returns attention matrices) or "sdpa"; its
        ViT always uses "sdpa". dtype: of its weights; default: the dtype of computation."""
        from iadgpt_jax.convert.torch_twin.modeling_iadgpt import IADGPTForConditionalGeneration

        kind = dtype or (torch.bfloat16 if self.on_gpu else torch.float32)
        how = {"": attention, "text_config": attention, "vision_config": "sdpa"}
        model = IADGPTForConditionalGeneration.from_pretrained(self.exported, dtype=kind, attn_implementation=how)
        return model.eval().to(self.device)

    def photographs(self, count: int, seed: int = 0, side: int | None = None) -> list[np.ndarray]:
        """`count` different pictures uint8[side, side, 3]: smooth colours with fine noise."""
        rng, side = np.random.default_rng(seed), side or self.side
        pictures = []
        for _ in range(count):
            soft = cv2.resize(rng.uniform(30, 220, (6, 6, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
            pictures.append(np.clip(soft + rng.normal(0, 8, soft.shape), 0, 255).astype(np.uint8))
        return pictures

    def inspection(
        self, references: list[np.ndarray], queries: list[np.ndarray], answered: bool = True, defective: int = 0
    ) -> Encoded:
        """Queries that each attend to all references. answered: with verdict and mask, as for training. Good and
        defective queries alternate, beginning with a good one unless `defective` is 1; the mask of a defective one is
        its upper left quarter."""
        blocks = []
        for number, query in enumerate(queries, start=defective):
            detection = Detection()
            if answered:
                mask = np.zeros(query.shape[:2], np.uint8)
                mask[: self.side // 2, : self.side // 2] = number % 2
                detection = Detection(bool(number % 2), mask)
            blocks.append(Block(images=(query,), sees=len(references), detection=detection))
        return self.encoder(Instance("inspect", tuple(blocks), tuple(references)))

"""The one table between Hugging Face's tensor names and our parameter tree; import and export both read it.

A row gives a name in hub layout (`visual.*`, `model.*`, `lm_head.weight`), the path in our tree and the layout of the
axes (convert/axes.py). Our tree stacks the blocks of a tower, so a row of a block stands for one slice of a leaf:
ViT groups [G, inner] and [G], decoder groups [G, inner] and [G].
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from iadgpt_jax.convert.axes import Axes
from iadgpt_jax.models.iadgpt.config import ModelConfig
from iadgpt_jax.models.qwen2_5_vl.config import GROUPS, LanguageConfig, VisionConfig

GATES = "iadgpt.fusion.gates"  # ours alone: no stock checkpoint has it

VISION = (
    ("visual.patch_embed.proj.weight", "vision/patch_embed", "embed color frame y x -> frame (color y x) embed"),
    ("visual.merger.ln_q.weight", "vision/merger/norm/scale", "embed -> embed"),
    ("visual.merger.mlp.0.weight", "vision/merger/fc1/kernel", "wide unit -> unit wide"),
    ("visual.merger.mlp.0.bias", "vision/merger/fc1/bias", "wide -> wide"),
    ("visual.merger.mlp.2.weight", "vision/merger/fc2/kernel", "out wide -> wide out"),
    ("visual.merger.mlp.2.bias", "vision/merger/fc2/bias", "out -> out"),
)
VISION_BLOCK = (
    ("norm1.weight", "norm1/scale", "embed -> embed"),
    ("norm2.weight", "norm2/scale", "embed -> embed"),
    ("attn.qkv.weight", "attention/qkv/kernel", "(three heads head) embed -> embed three heads head"),
    ("attn.qkv.bias", "attention/qkv/bias", "(three heads head) -> three heads head"),
    ("attn.proj.weight", "attention/out/kernel", "embed (heads head) -> heads head embed"),
    ("attn.proj.bias", "attention/out/bias", "embed -> embed"),
    ("mlp.gate_proj.weight", "mlp/gate/kernel", "mlp embed -> embed mlp"),
    ("mlp.gate_proj.bias", "mlp/gate/bias", "mlp -> mlp"),
    ("mlp.up_proj.weight", "mlp/up/kernel", "mlp embed -> embed mlp"),
    ("mlp.up_proj.bias", "mlp/up/bias", "mlp -> mlp"),
    ("mlp.down_proj.weight", "mlp/down/kernel", "embed mlp -> mlp embed"),
    ("mlp.down_proj.bias", "mlp/down/bias", "embed -> embed"),
)
LANGUAGE = (
    ("model.embed_tokens.weight", "language/embedding", "vocab embed -> vocab embed"),
    ("model.norm.weight", "language/norm/scale", "embed -> embed"),
)
HEAD = ("lm_head.weight", "language/head", "vocab embed -> vocab embed")  # absent where embeddings are tied
LANGUAGE_LAYER = (
    ("input_layernorm.weight", "norm1/scale", "embed -> embed"),
    ("post_attention_layernorm.weight", "norm2/scale", "embed -> embed"),
    ("self_attn.q_proj.weight", "attention/q/kernel", "(heads head) embed -> embed heads head"),
    ("self_attn.q_proj.bias", "attention/q/bias", "(heads head) -> heads head"),
    ("self_attn.k_proj.weight", "attention/k/kernel", "(kv head) embed -> embed kv head"),
    ("self_attn.k_proj.bias", "attention/k/bias", "(kv head) -> kv head"),
    ("self_attn.v_proj.weight", "attention/v/kernel", "(kv head) embed -> embed kv head"),
    ("self_attn.v_proj.bias", "attention/v/bias", "(kv head) -> kv head"),
    ("self_attn.o_proj.weight", "attention/out/kernel", "embed (heads head) -> heads head embed"),
    ("mlp.gate_proj.weight", "mlp/gate/kernel", "mlp embed -> embed mlp"),
    ("mlp.up_proj.weight", "mlp/up/kernel", "mlp embed -> embed mlp"),
    ("mlp.down_proj.weight", "mlp/down/kernel", "embed mlp -> mlp embed"),
)


@dataclass(frozen=True)
class Entry:
    """One Hugging Face tensor: its hub name, the leaf of our tree it belongs to, and where in that leaf it lies."""

    name: str
    path: str  # "/"-joined
    index: tuple[int, ...]  # along the leaf's stacking axes
    axes: Axes


def entries(config: ModelConfig, gates: bool = False) -> list[Entry]:
    """All tensors of a checkpoint in file order; `gates` adds the fusion gates under our own name."""
    vision, language = _vision_sizes(config.vision), _language_sizes(config.language)
    rows = [Entry(name, path, (), Axes.parse(text, vision)) for name, path, text in VISION]
    for block in range(config.vision.depth):
        prefix, index = _vision_block(config.vision, block)
        for name, path, text in VISION_BLOCK:
            rows.append(Entry(f"visual.blocks.{block}.{name}", prefix + path, index, Axes.parse(text, vision)))
    rows += [Entry(name, path, (), Axes.parse(text, language)) for name, path, text in LANGUAGE]
    for layer in range(config.language.depth):
        prefix, index = _language_layer(config.language, layer)
        for name, path, text in LANGUAGE_LAYER:
            rows.append(Entry(f"model.layers.{layer}.{name}", prefix + path, index, Axes.parse(text, language)))
    if not config.language.tied:
        name, path, text = HEAD
        rows.append(Entry(name, path, (), Axes.parse(text, language)))
    if gates:
        rows.append(Entry(GATES, "vision/fusion/gates", (), Axes.parse("gate -> gate", {"gate": GROUPS - 1})))
    return rows


def hub_name(name: str) -> str:
    """The hub's name of a tensor that may carry transformers' in-memory prefixes."""
    name = re.sub(r"^model\.visual\.", "visual.", name)
    return re.sub(r"^model\.language_model\.", "model.", name)


def _vision_block(config: VisionConfig, block: int) -> tuple[str, tuple[int, ...]]:
    if not config.regular:
        return f"vision/block_{block}/", ()
    group, inner = divmod(block, config.depth // GROUPS)
    if block in config.full_blocks:
        return "vision/groups/full/block/", (group,)
    return "vision/groups/window/block/", (group, inner)


def _language_layer(config: LanguageConfig, layer: int) -> tuple[str, tuple[int, ...]]:
    per_group = config.depth // config.groups
    group, inner = divmod(layer, per_group)
    if inner == per_group - 1:
        return "language/groups/tapped/", (group,)
    return "language/groups/plain/", (group, inner)


def _vision_sizes(c: VisionConfig) -> dict[str, int]:
    unit = c.width * c.merge**2
    return {
        "embed": c.width, "mlp": c.mlp, "three": 3, "heads": c.heads, "head": c.width // c.heads, "out": c.out,
        "unit": unit, "wide": unit, "color": 3, "frame": 2, "y": c.patch, "x": c.patch,
    }  # fmt: skip


def _language_sizes(c: LanguageConfig) -> dict[str, int]:
    return {
        "embed": c.width, "mlp": c.mlp, "heads": c.heads, "kv": c.kv_heads, "head": c.head_width, "vocab": c.vocab,
    }  # fmt: skip

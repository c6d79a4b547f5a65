"""Where Hugging Face's tensors of Qwen2.5-VL lie in our parameter tree: convert/names.py makes its table of this.

A row is (name on the hub, path in our tree, index along the leaf's stacking axes, order of the axes as
convert/axes.py reads it). Our tree stacks the blocks of a tower: ViT groups [G, inner] and [G], decoder groups
[G, inner] and [G].
"""

from __future__ import annotations

from collections.abc import Iterator

from iadgpt_jax.models.qwen2_5_vl.config import GROUPS, LanguageConfig, VisionConfig

Row = tuple[str, str, tuple[int, ...], str]

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


def vision_names(config: VisionConfig) -> Iterator[Row]:
    """Rows of the vision tower, in file order."""
    for name, path, text in VISION:
        yield name, path, (), text
    for block in range(config.depth):
        prefix, index = _vision_block(config, block)
        for name, path, text in VISION_BLOCK:
            yield f"visual.blocks.{block}.{name}", prefix + path, index, text


def language_names(config: LanguageConfig) -> Iterator[Row]:
    """Rows of the decoder, in file order."""
    for name, path, text in LANGUAGE:
        yield name, path, (), text
    for layer in range(config.depth):
        prefix, index = _language_layer(config, layer)
        for name, path, text in LANGUAGE_LAYER:
            yield f"model.layers.{layer}.{name}", prefix + path, index, text
    if not config.tied:
        name, path, text = HEAD
        yield name, path, (), text


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


def vision_sizes(c: VisionConfig) -> dict[str, int]:
    """The lengths of the axes that the vision tower's orders name."""
    unit = c.width * c.merge**2
    return {
        "embed": c.width, "mlp": c.mlp, "three": 3, "heads": c.heads, "head": c.width // c.heads, "out": c.out,
        "unit": unit, "wide": unit, "color": 3, "frame": 2, "y": c.patch, "x": c.patch,
    }  # fmt: skip


def language_sizes(c: LanguageConfig) -> dict[str, int]:
    """The lengths of the axes that the decoder's orders name."""
    return {
        "embed": c.width, "mlp": c.mlp, "heads": c.heads, "kv": c.kv_heads, "head": c.head_width, "vocab": c.vocab,
    }  # fmt: skip

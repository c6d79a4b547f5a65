"""Anomaly maps from a few attention rows: the keyword tokens' attention to the query image, at a few decoder layers.

The layers attend as they always do; beside them the queries of the keyword rows alone are computed again and multiplied
with the keys in the cache, so no S×S matrix exists (paper eq. 5).
Suffixes: R keyword rows, N merged tokens of the query image, T cached tokens, H heads, K heads of keys, D head width.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import rotate_half


class KeywordRows:
    """While entered, reads the rows at every forward of `layers`. Batch of one prompt, with a cache.

    rows: indices of the keyword tokens in the whole prompt; columns: (start, stop) of the query image's tokens.
    """

    def __init__(self, decoder: nn.Module, layers, rows: list[int], columns: tuple[int, int]):
        self.attentions = [decoder.layers[layer].self_attn for layer in layers]
        self.rows, self.columns = rows, columns
        self.logits: list[torch.Tensor] = []  # float32[R, N] per layer, mean over heads
        self.probabilities: list[torch.Tensor] = []

    def __enter__(self) -> KeywordRows:
        self._handles = [layer.register_forward_hook(self._look, with_kwargs=True) for layer in self.attentions]
        return self

    def __exit__(self, *_) -> None:
        for handle in self._handles:
            handle.remove()

    def _look(self, attention, args, inputs, output) -> None:
        hidden = inputs["hidden_states"]
        keys = inputs["past_key_values"].layers[attention.layer_idx].keys[0].float()  # [K, T, D]
        kv_heads, total, width = keys.shape
        at = torch.tensor(self.rows, device=hidden.device)
        here = at - (total - hidden.shape[1])
        cos, sin = (angle[0, here] for angle in inputs["position_embeddings"])
        query = attention.q_proj(hidden[0, here]).view(len(self.rows), -1, width).transpose(0, 1)  # [H, R, D]
        query = (query * cos + rotate_half(query) * sin).float().view(kv_heads, -1, len(self.rows), width)
        logits = torch.einsum("kgrd,ktd->kgrt", query, keys) * width**-0.5
        future = torch.arange(total, device=at.device) > at[:, None]
        seen = torch.logsumexp(logits.masked_fill(future, -torch.inf), dim=-1, keepdim=True)
        image = logits[..., slice(*self.columns)]
        self.logits.append(image.mean(dim=(0, 1)))
        self.probabilities.append((image - seen).exp().mean(dim=(0, 1)))

    def pooled(self, weights: torch.Tensor, map_space: str) -> torch.Tensor:
        """float32[N] from weights float32[R] of the rows, mean over layers, in the form the maps were trained in."""
        field = self.logits if map_space == "logit" else self.probabilities
        map_ = weights @ torch.stack(field).mean(dim=0)
        return torch.sigmoid(map_) if map_space == "logit" else map_

"""The peer's training step: transformers' forward with eager attention, the losses of paper eq. 4 to 6 in plain torch,
fused AdamW. Stage 3: the ViT is frozen.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from tools.benchmarks.prompts_torch import NO_LABEL, Batch, maps_of


class Trainer:
    """One step over one or several batches, whose losses are summed. Batches of one prompt need no padding, one batch
    of many prompts makes larger matrix products; which is faster depends on the machine.

    Parameters stay float32; on a GPU the forward pass runs under autocast in bfloat16.
    """

    def __init__(self, model: nn.Module, rate: float):
        self.model = model.train()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(("model.visual.blocks", "model.visual.patch_embed")))
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        matrices = [p for p in self.trained if p.ndim > 1]
        others = [p for p in self.trained if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)
        self.cuda = model.device.type == "cuda"

    def step(self, batches: Sequence[Batch]) -> tuple[float, float]:
        """(loss, norm of the gradient before clipping)."""
        losses, maps = [], []
        count = sum(int((batch.labels != NO_LABEL).sum()) for batch in batches)
        for batch in batches:
            with torch.autocast("cuda", torch.bfloat16, enabled=self.cuda):
                out = self.model(
                    **batch.inputs, labels=batch.labels, output_attentions=True, use_cache=False,
                    num_items_in_batch=count,
                )  # fmt: skip
            losses.append(out.loss)
            maps.append(maps_of(out.attentions, batch))
        loss = torch.stack(losses).sum() + map_loss(torch.cat(maps), torch.cat([batch.masks for batch in batches]))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach()), float(norm)


def map_loss(maps: torch.Tensor, masks: torch.Tensor, gamma: float = 2.0, smooth: float = 1e-5) -> torch.Tensor:
    """Focal([S_n, S_a], M) + Dice(S_a, M) + Dice(S_n, 1 - M), mean over maps. maps float32[B, 2, N] raw, masks
    uint8[B, side, side]."""
    low = maps.detach().amin(dim=(0, 2), keepdim=True)
    high = maps.detach().amax(dim=(0, 2), keepdim=True)
    scores = (maps - low) / (high - low + 1e-8)
    # Not clamp: the two extremes themselves get half of their gradient, as they do from jax.numpy.clip.
    scores = torch.minimum(torch.maximum(scores, scores.new_zeros(())), scores.new_ones(()))
    grid = round(maps.shape[-1] ** 0.5)
    scores = functional.interpolate(scores.unflatten(-1, (grid, grid)), masks.shape[1:], mode="bilinear")
    abnormal, normal = scores.unbind(dim=1)
    mask = masks.float()
    truth = mask.clamp(smooth, 1 - smooth)
    p = truth * abnormal + (1 - truth) * normal + smooth
    focal = -((1 - p).clamp(min=1e-7) ** gamma) * p.log()
    return (focal.mean(dim=(1, 2)) + _dice(abnormal, mask) + _dice(normal, 1 - mask)).mean()


def _dice(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    overlap = (scores * target).sum(dim=(1, 2))
    return 1 - (2 * overlap + 1) / (scores.sum(dim=(1, 2)) + target.sum(dim=(1, 2)) + 1)

"""Rematerialisation: what a layer keeps from its forward pass for its backward pass, and what it computes again.

Both towers tag the tensors worth keeping (`checkpoint_name`); a policy is a list of those tags. Everything not kept is
computed again from the layer's input. For the 7B decoder in bfloat16, bytes kept per token and layer beside the layer's
input, and the work done again in units of one forward pass (a training step is 3 of them):

    policy      keeps                                                   bytes   work
    full        nothing                                                     0    .72 (the last matrix is never needed)
    attention   attention's outputs and log-sum-exps                     7 kB    .70 (no attention kernel runs twice)
    mlp         all but what lies inside the MLP                        24 kB    .58 (gate and up)
    dots        every matrix product                                   100 kB    .02
    none        everything, norms and rotations too                  > 200 kB     0
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name

from iadgpt_jax.errors import InputError

__all__ = ["CONTEXT", "POLICIES", "RESIDUAL", "checkpoint_name", "rematerialised"]

# Tags. query, key and value are taken after rotation; `context` are attention's outputs before their projection and,
# on fused kernels, their log-sum-exps; `residual` is the stream between attention and MLP.
QUERY, KEY, VALUE, CONTEXT, RESIDUAL = "query", "key", "value", "context", "residual"
GATE, UP = "gate", "up"

_ATTENTION = (QUERY, KEY, VALUE, CONTEXT, RESIDUAL)
POLICIES: dict[str, Callable | None] = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "attention": jax.checkpoint_policies.save_only_these_names(CONTEXT),
    "mlp": jax.checkpoint_policies.save_only_these_names(*_ATTENTION),
    "dots": jax.checkpoint_policies.save_only_these_names(*_ATTENTION, GATE, UP),
}


def rematerialised(layer: type[nn.Module], policy: str, prevent_cse: bool = False) -> type[nn.Module]:
    """The layer under a policy. Inside a scan nothing needs to stop XLA from merging the two computations; where the
    layers stand side by side in one program, pass prevent_cse.

    Raises:
      InputError: there is no such policy.
    """
    if policy not in POLICIES:
        raise InputError(f"config.remat is {policy!r}: choose one of {', '.join(POLICIES)}")
    if policy == "none":
        return layer
    return nn.remat(layer, prevent_cse=prevent_cse, policy=POLICIES[policy])

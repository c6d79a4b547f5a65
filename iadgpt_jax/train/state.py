"""What training carries from step to step, and how it lies on the mesh."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import optax
from flax import traverse_util
from jax.sharding import Mesh

from iadgpt_jax.sharding import ShardingRules, replicated
from iadgpt_jax.train.optimizer import join_params, split_params


class TrainState(NamedTuple):
    """step int32[]; trained and frozen parameters as flat dicts from path to float32 array; optimizer state of the
    trained ones."""

    step: jax.Array
    trained: dict[str, jax.Array]
    frozen: dict[str, jax.Array]
    optimizer: Any

    @property
    def params(self):
        """The whole parameter tree."""
        return join_params(self.trained, self.frozen)


def create(params, frozen: str, optimizer: optax.GradientTransformation) -> TrainState:
    """A state at step 0 from a parameter tree. Trace it with jax.eval_shape for shapes alone."""
    trained, kept = split_params(params, frozen)
    return TrainState(jax.numpy.zeros((), jax.numpy.int32), trained, kept, optimizer.init(trained))


def state_shardings(mesh: Mesh, rules: ShardingRules, axes, shapes: TrainState) -> TrainState:
    """Shardings of a whole state: moments lie as the parameters they belong to, scalars everywhere.

    `axes` is the tree of logical axes (models/registry.py), `shapes` the abstract state.
    """
    flat_axes = {
        "/".join(path): names
        for path, names in traverse_util.flatten_dict(axes, is_leaf=lambda _, x: isinstance(x, tuple)).items()
    }

    def of_params(leaves):
        # An optimizer that treats some leaves apart keeps MaskedNodes in the place of the others.
        return {
            path: leaf if isinstance(leaf, optax.MaskedNode) else rules.sharding(mesh, flat_axes[path], leaf.shape)
            for path, leaf in leaves.items()
        }

    def moments(node):
        return isinstance(node, dict) and node.keys() == shapes.trained.keys()

    everywhere = replicated(mesh)
    return TrainState(
        everywhere,
        of_params(shapes.trained),
        of_params(shapes.frozen),
        jax.tree.map(lambda node: of_params(node) if moments(node) else everywhere, shapes.optimizer, is_leaf=moments),
    )

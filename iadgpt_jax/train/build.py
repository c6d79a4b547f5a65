"""From a configuration to its compiled-once functions: the one place where training and ahead-of-time compiling get
their step, so that what launch/compile.py measures is what launch/train.py runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding

from iadgpt_jax.data.pack import pack
from iadgpt_jax.data.row_shape import RowShape
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.attention import choose
from iadgpt_jax.models.protocols import Model, ModelConfig
from iadgpt_jax.models.registry import float_dtype, init_params, logical_axes, make_module, model_of
from iadgpt_jax.models.rows import Rows
from iadgpt_jax.sharding import ShardingRules, abstract_arrays, replicated, rows_sharding
from iadgpt_jax.tpu_options import compiler_options
from iadgpt_jax.train.optimizer import make_optimizer, merge_params, schedule
from iadgpt_jax.train.state import TrainState, create, state_shardings
from iadgpt_jax.train.step import Loss, make_train_step, reporting


@dataclass(frozen=True)
class Training:
    """One stage on one mesh. `fresh(params or None)`, its params donated, makes the first state; `state` is it in
    the abstract, with shardings; `step`, the state donated, is (state, rows) -> (state, metrics).
    """

    model: Model
    shape: RowShape
    fresh: jax.stages.Wrapped
    state: TrainState
    rows: NamedSharding
    step: jax.stages.Wrapped
    loss: Loss


def build_training(
    config, model_config: ModelConfig, mesh: Mesh, rules: ShardingRules, params: Any | None = None
) -> Training:
    """The stage that `config` (configs/common.py) describes. params: what it starts from, if it is known already; what
    the model has besides begins fresh.

    Raises:
      InputError: a value of the configuration that makes no sense.
    """
    window = model_config.vision.window
    if config.image_side % window:
        raise InputError(f"config.image_side={config.image_side} is not a multiple of {window}: choose one")
    model, shape = _model(config, model_config, mesh, rules), RowShape.of(config.row)
    loss = model_of(model_config).objective(model, shape.lanes, config)
    rate = schedule(config.optimizer.rate, config.steps, config.optimizer.warmup, config.optimizer.floor)
    optimizer = make_optimizer(
        rate, **{k: config.optimizer[k] for k in ("kind", "b1", "b2", "weight_decay", "clip", "moments", "groups")}
    )

    def init() -> Any:
        return init_params(model_config, jax.random.key(config.seed))

    def fresh(params: Any | None) -> TrainState:
        if jax.tree.structure(params) != whole:
            params = merge_params(init(), params or {})  # compiled, only what `params` lacks is made
        return create(params, config.frozen, optimizer)

    whole = jax.tree.structure(jax.eval_shape(init))
    shapes = jax.eval_shape(fresh, params)
    shardings = state_shardings(mesh, rules, logical_axes(model_config), shapes)
    batch = rows_sharding(mesh, rules)
    step = jax.jit(
        reporting(make_train_step(loss, optimizer, config.microbatches), rate, config.log_parameters),
        in_shardings=(shardings, batch),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
        compiler_options=compiler_options(mesh),
    )
    first = jax.jit(fresh, out_shardings=shardings, donate_argnums=0)
    return Training(model, shape, first, abstract_arrays(shapes, shardings), batch, step, loss)


def abstract_rows(shape: RowShape, rows: int, model_config: ModelConfig, sharding: NamedSharding) -> Rows:
    """A batch of packed rows without its contents, for `jax.jit(…).lower`."""
    one = pack([], 1, shape, model_config.vision).rows
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype, sharding=sharding), one)


def _model(config, model_config: ModelConfig, mesh: Mesh, rules: ShardingRules) -> Model:
    dtype = float_dtype("config.dtype", config.dtype)
    kernels = choose(config.attention, mesh, rules, dtype)
    return make_module(model_config, dtype, config.remat, kernels, config.scan_unroll)

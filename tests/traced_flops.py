"""FLOPs of a traced function by counting its matrix products, loops multiplied out.

This is what JAX is asked to compute, recomputation included, before XLA partitions, fuses or drops anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import jax
from jax.extend import core


def traced_flops(function: Callable, *args) -> float:
    """FLOPs of the matrix products of function(*args); args may be ShapeDtypeStructs.

    Raises:
      ValueError: a while loop, whose number of turns nothing tells.
    """
    return jaxpr_flops(jax.make_jaxpr(function)(*args).jaxpr)


def jaxpr_flops(jaxpr: core.Jaxpr) -> float:
    """2·m·k·n of every dot_general and 2 · outputs · taps of every convolution; a scan's body times its length, the
    dearest branch of a cond, a kernel by its own cost estimate or, without one, its body times its grid."""
    total = 0.0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
            total += 2.0 * math.prod(out) * math.prod(left[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = params["dimension_numbers"].rhs_spec[0]
            total += 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) / kernel[outputs]
        elif name == "while":
            if any(jaxpr_flops(body) for body in _bodies(params)):
                raise ValueError("a while loop with matrix products: nothing tells how often it turns; use lax.scan")
        elif name == "cond":
            total += max(jaxpr_flops(body) for body in _bodies(params))
        elif name == "pallas_call" and params.get("cost_estimate") is not None:
            total += params["cost_estimate"].flops
        else:
            total += _times(name, params) * sum(jaxpr_flops(body) for body in _bodies(params))
    return total


def _times(name: str, params: dict) -> int:
    """How often the body of an equation runs, over all devices."""
    if name == "scan":
        return params["length"]
    if name == "pallas_call":
        return math.prod(params["grid_mapping"].grid)
    if name == "shard_map":  # its body has the shapes of one shard
        return params["mesh"].size
    return 1


def _bodies(params: dict) -> Iterator[core.Jaxpr]:
    """Jaxprs among an equation's parameters, open or closed, alone or in a tuple."""
    for value in params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, core.ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, core.Jaxpr):
                yield one

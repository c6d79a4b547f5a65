"""Every rematerialisation policy, scanned or unrolled, gives the gradients of none, and repeats the work it says.

Tolerance: a recomputed value is the same float32 operation on the same inputs; only what XLA fuses differs, a few
roundings of 6e-8 over sums of at most 48 terms, through three layers.
"""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.models.attention.dense import DenseImages, FlatRows
from iadgpt_jax.models.attention.plans import WholeRows
from iadgpt_jax.models.layers import Projections
from iadgpt_jax.models.qwen2_5_vl.language import DecoderGroup, LayerInput
from iadgpt_jax.models.qwen2_5_vl.vision import VisionGroup
from iadgpt_jax.models.remat import POLICIES, rematerialised
from tests.small_iadgpt import QUICK, small_config

CONFIG = small_config(vision={"depth": 12, "full_blocks": (2, 5, 8, 11)}, language={"depth": 12})
S, P, WINDOW = 24, 32, 16


def tower(kind: str, policy: str, unroll: bool = False):
    """(loss of a group's parameters, group, its inputs): three layers each."""
    rng = np.random.default_rng(0)
    if kind == "decoder":
        width = CONFIG.language.head_width // 2
        x = rng.normal(size=(2, S, CONFIG.language.width)).astype(np.float32)
        angles = rng.normal(size=(2, S, width)).astype(np.float32)
        inputs = LayerInput(
            np.cos(angles), np.sin(angles), WholeRows(FlatRows(np.tri(S, dtype=bool)[None].repeat(2, 0)))
        )
        group, arguments = DecoderGroup(CONFIG.language, Projections(), policy, unroll), (x, inputs, None)
    else:
        c = CONFIG.vision
        x = rng.normal(size=(2, P, c.width)).astype(np.float32)
        angles = rng.normal(size=(2, P, c.width // c.heads // 2)).astype(np.float32)
        full = np.cos(angles), np.sin(angles), rng.random((2, P)) < 0.9
        windowed = tuple(a.reshape(2 * P // WINDOW, WINDOW, *a.shape[2:]) for a in full)
        full, windowed = ((cos, sin, DenseImages(valid)) for cos, sin, valid in (full, windowed))
        group, arguments = VisionGroup(c, Projections(), policy, unroll), (x, (windowed, full))
    return lambda params: (group.apply(params, *arguments)[0] ** 2).mean(), group, arguments


@functools.cache
def lively(kind: str):
    """Parameters for a tower of any policy."""
    _, group, arguments = tower(kind, "none")
    # Initial kernels times 8: attention and MLP must matter beside the residual stream. Not the norms: softmax would
    # saturate, and rounding decide.
    params = jax.jit(lambda: group.init(jax.random.key(0), *arguments), compiler_options=QUICK)()
    return jax.tree.map_with_path(lambda path, p: p if "scale" in jax.tree_util.keystr(path) else 8 * p, params)


@functools.cache
def gradients(kind: str, policy: str, unroll: bool = False):
    loss, *_ = tower(kind, policy, unroll)
    return jax.jit(jax.grad(loss), compiler_options=QUICK)(lively(kind))


WAYS = [*((policy, False) for policy in POLICIES if policy != "none"), ("none", True), ("attention", True)]
BY_DAY = {("vision", "full", False), ("vision", "attention", True)}  # a policy is one code: the decoder has them all
CASES = [("decoder", *way) for way in WAYS]
for case in (("vision", *way) for way in WAYS):
    CASES.append(pytest.param(*case, marks=() if case in BY_DAY else pytest.mark.nightly))


@pytest.mark.parametrize(("kind", "policy", "unroll"), CASES)
def test_neither_a_policy_nor_an_unrolled_loop_changes_a_gradient(kind, policy, unroll):
    expected, found = gradients(kind, "none"), gradients(kind, policy, unroll)
    for (path, ours), theirs in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        largest = np.abs(theirs).max()
        assert largest > 0 or "k" in jax.tree_util.keystr(path), path
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * largest + 1e-7, err_msg=jax.tree_util.keystr(path))


def products(jaxpr) -> int:
    """Multiply-adds of all matrix products, scanned bodies times their length."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inputs = equation.invars[0].aval.shape
            total += int(np.prod(equation.outvars[0].aval.shape)) * int(np.prod([inputs[i] for i in contracted]))
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                total += times * products(inner) if hasattr(inner, "eqns") else 0
    return total


@pytest.mark.parametrize("kind", ["decoder", "vision"])
def test_a_policy_that_keeps_more_repeats_less(kind):
    """none < dots < mlp < attention < full; and `full` repeats at most one forward pass, less the last product."""
    work = {}
    for policy in POLICIES:
        loss, *_ = tower(kind, policy)
        work[policy] = products(jax.make_jaxpr(jax.grad(loss))(lively(kind)).jaxpr)
    forward = products(jax.make_jaxpr(loss)(lively(kind)).jaxpr)
    assert work["none"] <= work["dots"] < work["mlp"] < work["attention"] < work["full"] < work["none"] + forward


def test_an_unknown_policy_is_refused():
    with pytest.raises(InputError, match="config.remat is 'some': choose one of none, full"):
        rematerialised(DecoderGroup, "some")

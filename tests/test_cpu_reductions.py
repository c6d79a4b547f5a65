"""XLA sums on a CPU are right and repeatable: from the smallest pattern that is not by default to a training step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iadgpt_jax.cpu_reductions import FLAG

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("copies", [2, 8])
def test_a_sum_over_copies_is_the_sum(copies):
    """The pattern that YNNPACK gets wrong: most of these calls fail where jaxlib 0.10.2 chooses by itself."""
    values = np.random.default_rng(0).normal(size=(588, 32)).astype(np.float32)
    expected = copies * (values.astype(np.float64) ** 2).sum()

    @jax.jit
    def of_squares(x):
        return (jnp.broadcast_to(x, (copies, *x.shape)) ** 2).sum()

    got = {float(of_squares(values)) for _ in range(300)}
    assert len(got) == 1, "the same every time"
    np.testing.assert_allclose(got.pop(), expected, rtol=copies * values.size * 2**-24)  # as a sum one by one rounds


def test_a_product_with_a_broadcast_is_summed_rightly():
    """Another such pattern: the slope of a sum of matrix products. YNNPACK's result is off by any factor."""
    left = np.random.default_rng(0).normal(size=(5, 60, 60)).astype(np.float32)

    def summed(x, c, xp):
        return (xp.matmul(x, xp.broadcast_to(c, x.shape)) * x).sum()

    got = jax.jit(lambda x, c: summed(x, c, jnp))(left, jnp.float32(1.3))
    exact = left.astype(np.float64)
    terms = np.abs(np.matmul(np.abs(exact), np.full_like(exact, 1.3)) * exact).sum()
    np.testing.assert_allclose(got, summed(exact, 1.3, np), rtol=0, atol=2 * left.size**0.5 * 2**-24 * terms)


def flags_after(before: str | None, code: str = "import iadgpt_jax") -> tuple[str, str]:
    """(XLA_FLAGS after a fresh process imported the package, what it said)."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    environment |= {} if before is None else {"XLA_FLAGS": before}
    code += "; import os; print(os.environ['XLA_FLAGS'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip(), done.stderr


def test_flags_of_the_user_stay():
    assert flags_after(None)[0] == f"{FLAG}=-REDUCE"
    assert flags_after("--xla_a=1 --xla_b=2")[0] == f"--xla_a=1 --xla_b=2 {FLAG}=-REDUCE"
    assert flags_after(f"{FLAG}=DOT")[0] == f"{FLAG}=DOT"


def test_too_late_is_said():
    _, said = flags_after(None, "import jax; jax.devices(); import iadgpt_jax")
    assert "RuntimeWarning: JAX was used before iadgpt_jax was imported" in said
    assert not flags_after(None, "import jax; import iadgpt_jax; jax.devices()")[1]

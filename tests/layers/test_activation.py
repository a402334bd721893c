"""Tests of activations against their definitions."""

import math

import jax
import numpy as np
import pytest

from vlp_jax.layers.activation import ACTIVATIONS, gelu

X = np.array([-6.0, -1.5, -0.3, 0.0, 0.3, 1.5, 6.0], np.float32)


def exact_gelu(x: float) -> float:
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def test_gelu_is_the_exact_one():
    exact = [exact_gelu(x) for x in X.tolist()]
    np.testing.assert_allclose(gelu(X), exact, atol=2e-7)
    assert float(gelu(np.float32(1.5))) == pytest.approx(1.3997892, abs=1e-6)


def test_the_tanh_approximation_would_fail_here():
    tanh = [0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) for x in X]
    assert np.abs(np.array(tanh) - [exact_gelu(x) for x in X]).max() > 1e-4


def test_names():
    assert set(ACTIVATIONS) == {"gelu", "relu", "swish", "silu"}
    assert ACTIVATIONS["gelu"] is gelu
    np.testing.assert_array_equal(ACTIVATIONS["relu"](X), np.maximum(X, 0))
    np.testing.assert_allclose(ACTIVATIONS["swish"](X), X / (1 + np.exp(-X)), rtol=1e-6)


def test_an_unknown_name():
    with pytest.raises(ValueError, match='unknown activation "gelo". Did you mean "gelu"?'):
        ACTIVATIONS.get_known("gelo")


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_the_slope_of_gelu(dtype, tolerance):
    step = 1e-6
    exact = [(exact_gelu(x + step) - exact_gelu(x - step)) / (2 * step) for x in X.tolist()]
    slope = jax.grad(lambda x: gelu(x).astype("float32").sum())(X.astype(dtype))
    assert slope.dtype == dtype
    np.testing.assert_allclose(slope.astype("float32"), exact, atol=tolerance)


def test_gelu_keeps_its_input_alone():
    kept = jax.tree.leaves(jax.eval_shape(lambda x: jax.vjp(gelu, x)[1], X))
    assert [x.shape for x in kept] == [X.shape]

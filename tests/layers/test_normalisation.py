"""Tests of layer normalisation against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.layers import slow
from vlp_jax.layers.normalisation import LayerNorm, normalise

apply = jax.jit(lambda p, x: LayerNorm(1e-6).apply({"params": p}, x))


def random_scale_and_bias(rng, width):
    return {name: rng.normal(size=width).astype(np.float32) for name in ("scale", "bias")}


@given(st.integers(0, 2**32 - 1), st.floats(-100, 100), st.floats(0.01, 100))
def test_equals_float64(seed, offset, deviation):
    rng = np.random.default_rng(seed)
    params = random_scale_and_bias(rng, 16)
    x = (offset + deviation * rng.normal(size=(3, 2, 16))).astype(np.float32)
    exact = slow.layer_norm(params, x, 1e-6)
    tolerance = 2e-6 + 1e-6 * abs(offset) / deviation
    np.testing.assert_allclose(apply(params, x), exact, atol=10 * tolerance)


@pytest.mark.parametrize("device", ["cpu", "tpu", "gpu"])
def test_the_gradient_is_that_of_float64_on_every_device(device, monkeypatch):
    monkeypatch.setattr("vlp_jax.layers.platform.device_kind", lambda: device)
    rng = np.random.default_rng()
    given = rng.normal(size=(3, 4, 16)), *random_scale_and_bias(rng, 16).values()
    weights = rng.normal(size=(3, 4, 16))

    def plain(x, scale, bias):
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6)
        return (weights * (scale * unit + bias)).sum()

    ours = lambda x, scale, bias: (weights * normalise(x, scale, bias, 1e-6)).sum()
    found = jax.jit(jax.grad(ours, (0, 1, 2)))(*(x.astype(np.float32) for x in given))
    with jax.enable_x64(True):
        exact = jax.grad(plain, (0, 1, 2))(*(x.astype(np.float64) for x in given))
    for one, other in zip(found, exact):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_an_offset_does_not_drown_the_variance():
    rng = np.random.default_rng()
    params = {"scale": np.ones(16, np.float32), "bias": np.zeros(16, np.float32)}
    x = (1000 + rng.normal(size=(3, 2, 16))).astype(np.float32)
    np.testing.assert_allclose(apply(params, x), slow.layer_norm(params, x, 1e-6), atol=1e-3)


def test_a_constant_row_gives_the_bias():
    params = random_scale_and_bias(np.random.default_rng(), 16)
    result = apply(params, np.full((3, 2, 16), 7.0, np.float32))
    np.testing.assert_allclose(result, np.broadcast_to(params["bias"], (3, 2, 16)), atol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-12, 1e-6, 0.5])
def test_epsilon_stands_under_the_root(epsilon):
    params = {"scale": np.ones(2, np.float32), "bias": np.zeros(2, np.float32)}
    result = LayerNorm(epsilon).apply({"params": params}, np.array([3.0, 5.0], np.float32))
    np.testing.assert_allclose(result, np.array([-1, 1]) / np.sqrt(1 + epsilon), rtol=1e-6)


def test_starts_as_the_plain_normalisation():
    params = LayerNorm().init(jax.random.key(0), jnp.zeros(4))["params"]
    assert {k: v.unbox().tolist() for k, v in params.items()} == {"scale": [1] * 4, "bias": [0] * 4}


def test_half_precision_in_and_out_but_not_inside():
    module = LayerNorm()
    params = {"scale": jnp.ones(256), "bias": jnp.zeros(256)}
    x = (64 + np.random.default_rng().normal(size=(2, 256))).astype(jnp.bfloat16)
    result = module.apply({"params": params}, x)
    assert result.dtype == jnp.bfloat16
    exact = slow.layer_norm({"scale": 1.0, "bias": 0.0}, np.asarray(x, np.float64), 1e-12)
    np.testing.assert_allclose(np.asarray(result, np.float64), exact, rtol=2**-8, atol=1e-4)


@given(st.integers(0, 2**32 - 1), st.floats(-10, 10), st.floats(0.1, 100))
def test_the_gradient_equals_that_of_float64(seed, offset, deviation):
    rng = np.random.default_rng(seed)
    params = random_scale_and_bias(rng, 16)
    x = (offset + deviation * rng.normal(size=(3, 16))).astype(np.float32)
    slope = rng.normal(size=x.shape).astype(np.float32)
    found = gradient(x, params["scale"], params["bias"], slope)
    for i, exact in enumerate(slow_gradient(x, params["scale"], slope)):
        np.testing.assert_allclose(found[i], exact, atol=2e-4 * (1 + np.abs(exact).max()))


@jax.jit
def gradient(x, scale, bias, slope):
    return jax.grad(lambda *given: (slope * normalise(*given, 1e-6)).sum(), (0, 1, 2))(
        x, scale, bias
    )


def slow_gradient(x, scale, slope):
    """Returns it by the Jacobian of one row after the other, in float64."""
    to_x, to_scale = np.zeros(x.shape), np.zeros(scale.shape)
    for i, row in enumerate(x.astype(np.float64)):
        centred = row - row.mean()
        deviation = np.sqrt((centred**2).mean() + 1e-6)
        unit, size = centred / deviation, len(row)
        jacobian = (np.eye(size) - 1 / size - np.outer(unit, unit) / size) / deviation
        to_x[i] = jacobian @ (slope[i].astype(np.float64) * scale)
        to_scale += slope[i] * unit
    return to_x, to_scale, slope.sum(0)

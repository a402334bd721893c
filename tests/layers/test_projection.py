"""Tests of affine maps against plain matrix products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.tiny import random_variables
from vlp_jax.layers.platform import for_any_platform
from vlp_jax.layers.projection import (
    Linear,
    MergeHeads,
    SplitHeads,
    affine,
    as_rows,
    kernel_init,
    zeros_init,
)


@pytest.fixture
def rng():
    return np.random.default_rng()


def test_linear_is_a_matrix_product(rng):
    x = rng.normal(size=(2, 3, 5)).astype(np.float32)
    variables = random_variables(Linear(4), rng, x)
    p = variables["params"]
    assert p["kernel"].shape == (5, 4) and p["bias"].shape == (4,)
    exact = x.astype(np.float64) @ p["kernel"] + p["bias"]
    np.testing.assert_allclose(Linear(4).apply(variables, x), exact, atol=1e-5)


def test_an_output_in_float32_is_not_rounded_to_the_dtype_of_the_input(rng):
    x = jnp.asarray(rng.normal(size=(2, 50)), jnp.bfloat16)
    module = Linear(4, output_dtype=jnp.float32)
    variables = random_variables(module, rng, x)
    p, y = variables["params"], module.apply(variables, x)
    kernel = np.asarray(p["kernel"].astype(jnp.bfloat16), np.float64)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, np.asarray(x, np.float64) @ kernel + p["bias"], atol=1e-4)
    assert Linear(4).apply(variables, x).dtype == jnp.bfloat16


def test_linear_without_bias(rng):
    x = rng.normal(size=(2, 5)).astype(np.float32)
    variables = random_variables(Linear(4, use_bias=False), rng, x)
    assert set(variables["params"]) == {"kernel"}


def test_heads_split_and_merge(rng):
    x = rng.normal(size=(2, 3, 6)).astype(np.float32)
    split, merge = SplitHeads(heads=2, head_dim=5), MergeHeads(features=7)
    variables = random_variables(split, rng, x)
    p = variables["params"]
    assert p["kernel"].shape == (6, 2, 5) and p["bias"].shape == (2, 5)
    heads = split.apply(variables, x)
    flat = x.astype(np.float64) @ p["kernel"].reshape(6, 10) + p["bias"].reshape(10)
    np.testing.assert_allclose(heads, flat.reshape(2, 3, 2, 5), atol=1e-5)
    variables = random_variables(merge, rng, heads)
    p = variables["params"]
    assert p["kernel"].shape == (2, 5, 7) and p["bias"].shape == (7,)
    exact = np.asarray(heads, np.float64).reshape(2, 3, 10) @ p["kernel"].reshape(10, 7) + p["bias"]
    np.testing.assert_allclose(merge.apply(variables, heads), exact, atol=1e-5)


@pytest.mark.parametrize("module", [Linear(4), SplitHeads(2, 3), MergeHeads(4)])
def test_parameters_stay_float32_where_states_are_bfloat16(module):
    x = jax.ShapeDtypeStruct(
        (2, 3, 6) if not isinstance(module, MergeHeads) else (2, 3, 2, 3), "bfloat16"
    )
    output, variables = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x), x)
    assert output.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_every_dimension_has_a_name():
    names = lambda module, shape: {
        name: box.names
        for name, box in jax.eval_shape(
            lambda: module.init(jax.random.key(0), jnp.zeros(shape))["params"]
        ).items()
    }
    assert names(Linear(4), (1, 2)) == {"kernel": ("embed", "mlp"), "bias": ("mlp",)}
    assert names(Linear(4, axes=("mlp", None)), (1, 2)) == {
        "kernel": ("mlp", None),
        "bias": (None,),
    }
    assert names(SplitHeads(2, 3), (1, 2, 4)) == {
        "kernel": ("embed", "heads", "kv"),
        "bias": ("heads", "kv"),
    }
    assert names(MergeHeads(4), (1, 2, 3, 5)) == {
        "kernel": ("heads", "kv", "embed"),
        "bias": ("norm",),
    }


def test_weights_are_drawn_with_berts_deviation():
    drawn = kernel_init("embed", "mlp")(jax.random.key(3), (100, 100)).unbox()
    assert abs(float(drawn.std()) - 0.02) < 5e-4 and abs(float(drawn.mean())) < 1e-3
    assert not zeros_init("mlp")(jax.random.key(3), (5,)).unbox().any()


def test_axes_are_merged_but_for_tpus(monkeypatch, rng):
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(as_rows(x), x.reshape(24, 5))
    np.testing.assert_array_equal(as_rows(x, inner=2), x.reshape(6, 20))
    assert as_rows(x[0, 0]).shape == (4, 5)
    with for_any_platform():
        assert as_rows(x).shape == x.shape
    for device, shape in (
        ("tpu", x.shape),
        ("gpu", (24, 5)),
        ("GPUs other than Nvidia's", (24, 5)),
    ):
        monkeypatch.setattr("vlp_jax.layers.platform.device_kind", lambda device=device: device)
        assert as_rows(x).shape == shape


@pytest.mark.parametrize("inner", [1, 2])
@pytest.mark.parametrize("activation", [None, jnp.tanh], ids=["plain", "tanh"])
def test_affine_maps_and_their_gradients_do_not_depend_on_the_platform(rng, inner, activation):
    if inner == 2 and activation:
        pytest.skip("activations act on one axis")
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    x, bias = draw(2, 3, 4, 5), draw(6, 7)
    kernel = draw(*x.shape[4 - inner :], 6, 7)
    if activation:
        kernel, bias = kernel[..., 0], bias[:, 0]

    def loss(x, kernel, bias):
        y = affine(x, kernel, bias, inner=inner, activation=activation)
        return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum(), y

    value_and_grad = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
    (_, y), on_cpu = value_and_grad(x, kernel, bias)
    with for_any_platform():
        (_, wanted), elsewhere = value_and_grad(x, kernel, bias)
    exact = x.astype(np.float64) if activation is None else np.tanh(x.astype(np.float64))
    np.testing.assert_allclose(y, np.tensordot(exact, kernel, inner) + bias, atol=1e-4)
    np.testing.assert_allclose(y, wanted, atol=1e-5)
    for got, want in zip(on_cpu, elsewhere, strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)

"""Tests of the contrastive head: unit vectors, pooling and the temperature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import random_tokens, random_variables
from vlp_jax.config import checked_fields
from vlp_jax.heads.contrastive import ContrastiveHead, l2_normalise


@pytest.fixture
def rng():
    return np.random.default_rng()


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("pool", ["first", "mean"])
def test_vectors(rng, pool):
    text, image = random_tokens(rng, 3, 4), random_tokens(rng, 3, 5, 6)
    module = ContrastiveHead(width=7, temperature=0.3, image_pool=pool)
    variables = random_variables(module, rng, image, text)
    variables["params"]["temperature"] = np.float32(0.3)
    p = variables["params"]
    of_image, of_text, temperature = module.apply(variables, image, text)
    pooled = np.asarray(image.states[:, 0])
    if pool == "mean":
        weights = np.asarray(image.mask)[..., None]
        pooled = (np.asarray(image.states) * weights).sum(1) / weights.sum(1)
    np.testing.assert_allclose(
        of_image, unit(slow.linear(p["image_projection"], pooled)), atol=1e-5
    )
    exact = unit(slow.linear(p["text_projection"], text.states[:, 0]))
    np.testing.assert_allclose(of_text, exact, atol=1e-5)
    assert temperature == np.float32(0.3)


def test_the_temperature_starts_where_it_is_told(rng):
    module = ContrastiveHead(width=2, temperature=0.25)
    tokens = random_tokens(rng, 1, 2, 2)
    assert module.init(jax.random.key(0), tokens, tokens)["params"]["temperature"] == 0.25


def test_unit_length_but_never_nan():
    x = np.array([[3.0, 4], [0, 0], [1e-30, 0], [-1e18, 1e18]], np.float32)
    vectors = np.asarray(l2_normalise(x))
    np.testing.assert_allclose(vectors[0], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(vectors[1], [0, 0])
    assert np.isfinite(vectors).all()
    assert l2_normalise(jnp.ones((1, 2), jnp.bfloat16)).dtype == jnp.float32


def test_the_gradient_at_a_zero_vector_is_finite(rng):
    x = np.stack([np.zeros(3), rng.normal(size=3)]).astype(np.float32)
    slope = jax.grad(lambda x: (l2_normalise(x) * jnp.array([1.0, 2, 3])).sum())(x)
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope[1] @ x[1], 0, atol=1e-5)


def test_an_unknown_pooling():
    with pytest.raises(ValueError) as error:
        checked_fields(ContrastiveHead, {"image_pool": "maen"}, "config.model.heads.itc")
    assert str(error.value) == (
        "config.model.heads.itc.image_pool = 'maen'. Did you mean \"mean\"? "
        "Allowed: 'first', 'mean'"
    )


def test_a_bias_is_learned_only_where_it_is_given(rng):
    tokens = random_tokens(rng, 1, 2, 2)
    made = lambda **settings: ContrastiveHead(width=2, **settings).init(
        jax.random.key(0), tokens, tokens
    )["params"]
    assert "bias" not in made() and made(bias=-10.0)["bias"] == -10.0

"""Tests of poolers: one vector for a fused pair."""

import jax
import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import count_draws, random_tokens, random_variables, run_module
from vlp_jax.config import checked_fields
from vlp_jax.heads import POOLERS
from vlp_jax.heads.pooling import ProductPooler
from vlp_jax.layers.tokens import Fused


@pytest.fixture
def fused():
    rng = np.random.default_rng()
    return Fused(text=random_tokens(rng, 3, 4), image=random_tokens(rng, 3, 5, 6))


def test_first(fused):
    vector = POOLERS["first"]().apply({}, fused)
    np.testing.assert_array_equal(vector, fused.text.states[:, 0])


def test_tanh(fused):
    p, vector = run_module(POOLERS["tanh"](), fused)
    exact = np.tanh(slow.linear(p["dense"], fused.text.states[:, 0]))
    np.testing.assert_allclose(vector, exact, atol=1e-5)


@pytest.mark.parametrize("pool", ["first", "mean"])
@pytest.mark.parametrize(("combine", "join"), [("product", np.multiply), ("sum", np.add)])
def test_product(fused, combine, join, pool):
    p, vector = run_module(ProductPooler(width=7, combine=combine, pool=pool), fused)
    vectors = []
    for name, tokens in (("text", fused.text), ("image", fused.image)):
        one = tokens.states[:, 0] if pool == "first" else tokens.masked_mean()
        vectors.append(np.maximum(slow.linear(p[name], one), 0))
    np.testing.assert_allclose(vector, join(*vectors), atol=2e-5)


def test_product_drops_when_training(fused):
    module = ProductPooler(width=7, dropout=0.5)
    variables = random_variables(module, np.random.default_rng(), fused)
    key = jax.random.key(0)
    for deterministic in (True, False):
        options = dict(deterministic=deterministic, rngs={"dropout": key})
        jaxpr = jax.make_jaxpr(lambda f: module.apply(variables, f, **options))(fused)
        assert count_draws(jaxpr.jaxpr) == (not deterministic)


def test_an_unknown_combination():
    with pytest.raises(
        ValueError, match=r"pooler_args\.combine = 'prod'\. Did you mean \"product\""
    ):
        checked_fields(ProductPooler, {"combine": "prod"}, "config.model.pooler_args")


def test_mean_takes_the_real_text_tokens(fused):
    vector = POOLERS["mean"]().apply({}, fused)
    weights = np.asarray(fused.text.mask, float)[..., None]
    exact = (fused.text.states * weights).sum(1) / np.maximum(weights.sum(1), 1)
    np.testing.assert_allclose(vector, exact, atol=1e-6)

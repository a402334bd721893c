"""Tests of the masked language modelling head and of its tie to the word table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import random_variables
from vlp_jax.heads.masked_text import MaskedTextHead


@pytest.fixture
def rng():
    return np.random.default_rng()


@pytest.mark.parametrize("tied", [True, False])
def test_logits(rng, tied):
    states = rng.normal(size=(2, 3, 8)).astype(np.float32)
    table = rng.normal(size=(11, 8)).astype(np.float32)
    module = MaskedTextHead(tied=tied)
    variables = random_variables(module, rng, states, table)
    p = variables["params"]
    hidden = slow.layer_norm(p["norm"], slow.gelu(slow.linear(p["transform"], states)), 1e-12)
    exact = hidden @ (table if tied else p["decoder"]).T + p["bias"]
    np.testing.assert_allclose(module.apply(variables, states, table), exact, atol=5e-5)
    assert ("decoder" in p) is not tied


@pytest.mark.parametrize("tied", [True, False])
def test_logits_of_bfloat16_states_are_not_rounded(rng, tied):
    states = jnp.asarray(rng.normal(size=(1, 2, 8)), jnp.bfloat16)
    table = rng.normal(size=(500, 8)).astype(np.float32)
    module = MaskedTextHead(tied=tied)
    variables = random_variables(module, rng, states, table)
    variables["params"]["bias"] = np.zeros(500, np.float32)
    logits = module.apply(variables, states, table)
    assert logits.dtype == jnp.float32
    assert (logits != logits.astype(jnp.bfloat16)).mean() > 0.9
    slope = jax.grad(lambda s: (module.apply(variables, s, table) ** 2).sum())(states)
    assert slope.dtype == jnp.bfloat16 and np.isfinite(slope).all()


def test_the_tie_trains_the_table(rng):
    states = rng.normal(size=(1, 2, 4)).astype(np.float32)
    table = rng.normal(size=(5, 4)).astype(np.float32)
    for tied in (True, False):
        module = MaskedTextHead(tied=tied)
        variables = random_variables(module, rng, states, table)
        gradient = jax.grad(lambda t: (module.apply(variables, states, t) ** 2).sum())(table)
        assert bool(np.asarray(gradient).any()) is tied


def test_a_table_of_another_width(rng):
    states, table = np.zeros((1, 2, 4), np.float32), np.zeros((5, 6), np.float32)
    message = "tied to word embeddings of width 6 and cannot read text states of width 4"
    with pytest.raises(ValueError, match=message):
        random_variables(MaskedTextHead(), rng, states, table)

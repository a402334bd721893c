"""Tests of Transformer blocks against the same steps in float64, and of where dropout acts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import count_draws, random_variables
from vlp_jax.layers.blocks import BertLayer, PostNormAttention, PostNormFeedForward, ViTBlock

B, T, S, D, E = 2, 3, 4, 8, 6


@pytest.fixture
def rng():
    return np.random.default_rng()


def arrays(rng):
    states = rng.normal(size=(B, T, D)).astype(np.float32)
    context = rng.normal(size=(B, S, E)).astype(np.float32)
    mask = np.array([[True, True, False], [True, True, True]])
    context_mask = np.array([[True, False, True, False], [True] * 4])
    return states, context, mask, context_mask


def test_a_bert_layer_that_reads_a_context(rng):
    states, context, mask, context_mask = arrays(rng)
    module = BertLayer(heads=2, mlp_width=12)
    args = states, mask, context, context_mask
    variables = random_variables(module, rng, *args, deterministic=True)
    output = jax.jit(lambda v, *a: module.apply(v, *a, deterministic=True))(variables, *args)
    masks = slow.sees(T, mask), slow.sees(T, context_mask)
    exact = slow.bert_layer(variables["params"], states, masks[0], context, masks[1])
    np.testing.assert_allclose(output, exact, atol=2e-5)


def test_a_vit_block(rng):
    states, _, mask, _ = arrays(rng)
    module = ViTBlock(heads=4, mlp_width=12)
    args = states, mask
    variables = random_variables(module, rng, *args, deterministic=True)
    output = jax.jit(lambda v, *a: module.apply(v, *a, deterministic=True))(variables, *args)
    exact = slow.vit_block(variables["params"], states, slow.sees(T, mask))
    np.testing.assert_allclose(output, exact, atol=2e-5)


def parameters(module, *args):
    init = lambda: module.init(jax.random.key(0), *args, deterministic=True)["params"]
    return jax.eval_shape(init)


def test_without_a_context_there_is_no_cross_attention(rng):
    states, context, mask, context_mask = arrays(rng)
    module = BertLayer(heads=2, mlp_width=12)
    alone = parameters(module, states, mask)
    reading = parameters(module, states, mask, context, context_mask)
    assert set(alone) == {"self_attention", "feed_forward"}
    assert set(reading) == {"self_attention", "cross_attention", "feed_forward"}


def test_activation_by_name(rng):
    states, *_ = arrays(rng)
    variables = random_variables(PostNormFeedForward(12), rng, states, deterministic=True)
    run = lambda name: PostNormFeedForward(12, activation=name).apply(
        variables, states, deterministic=True
    )
    assert np.abs(run("gelu") - run("relu")).max() > 1e-3
    with pytest.raises(ValueError, match='unknown activation "geul"'):
        run("geul")


def draws(module, *args, deterministic):
    """Returns how many random draws a call makes."""
    variables = {"params": parameters(module, *args)}
    call = lambda v, *a: module.apply(
        v, *a, deterministic=deterministic, rngs={"dropout": jax.random.key(0)}
    )
    return count_draws(jax.make_jaxpr(call)(variables, *args).jaxpr)


MASK = jnp.ones((B, T), bool)
STATES = jnp.zeros((B, T, D))


@pytest.mark.parametrize(
    ("module", "args", "dropout", "attention_dropout"),
    [
        (PostNormAttention, (STATES, STATES, MASK), 1, 1),
        (PostNormFeedForward, (STATES,), 1, None),
        (BertLayer, (STATES, MASK), 2, 1),
        (BertLayer, (STATES, MASK, STATES, MASK), 3, 2),
        (ViTBlock, (STATES, MASK), 2, 1),
    ],
)
def test_dropout_draws_where_its_rate_says(module, args, dropout, attention_dropout):
    sizes = dict(width=12) if module is PostNormFeedForward else dict(heads=2)
    sizes |= dict(mlp_width=12) if module in (BertLayer, ViTBlock) else {}
    assert draws(module(**sizes, dropout=0.5), *args, deterministic=False) == dropout
    assert draws(module(**sizes, dropout=0.5), *args, deterministic=True) == 0
    if attention_dropout is not None:
        some = module(**sizes, attention_dropout=0.5)
        assert draws(some, *args, deterministic=False) == attention_dropout
    assert draws(module(**sizes), *args, deterministic=False) == 0

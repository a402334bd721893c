"""Tests of the decision about two image-text pairs that read each other."""

import jax
import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import random_tokens, random_variables
from vlp_jax.heads.paired_attention import AttentionPool, PairedAttentionHead
from vlp_jax.layers.tokens import Fused, Tokens


@pytest.fixture
def rng():
    return np.random.default_rng()


def test_the_pool_weighs_real_tokens(rng):
    tokens = random_tokens(rng, 3, 5, 4)
    module = AttentionPool()
    variables = random_variables(module, rng, tokens, deterministic=True)
    scores = np.maximum(slow.linear(variables["params"]["score"], tokens.states)[..., 0], 0)
    weights = slow.softmax(np.where(tokens.mask, scores, -np.inf))
    exact = np.einsum("bt,btd->bd", weights, tokens.states)
    found = module.apply(variables, tokens, deterministic=True)
    np.testing.assert_allclose(found, exact, atol=1e-5)


def exact_logits(p, first, second):
    sides = [pair.text.concatenate(pair.image) for pair in (first, second)]
    pooled = []
    for name, own, other in (("first", *sides), ("second", *reversed(sides))):
        mask = slow.sees(own.mask.shape[1], other.mask)
        read = slow.attention(p[f"{name}_attention"], own.states, other.states, mask)
        joined = slow.linear(p["join"], np.concatenate([read, own.states], -1))
        joined = np.maximum(joined, 0)
        scores = np.maximum(slow.linear(p["pool"]["score"], joined)[..., 0], 0)
        weights = slow.softmax(np.where(own.mask, scores, -np.inf))
        pooled.append(np.einsum("bt,btd->bd", weights, joined))
    return slow.linear(p["output"], np.concatenate(pooled, -1))


def with_junk(rng, pair):
    replace = lambda t: Tokens(
        np.where(t.mask[..., None], t.states, rng.normal(size=t.states.shape)).astype(np.float32),
        t.mask,
    )
    return Fused(image=replace(pair.image), text=replace(pair.text))


def test_logits_and_padding(rng):
    draw = lambda count: random_tokens(rng, 2, count, 8)
    pairs = [Fused(text=draw(3), image=draw(4)) for _ in range(2)]
    module = PairedAttentionHead(classes=3, heads=2)
    variables = random_variables(module, rng, *pairs)
    apply = jax.jit(module.apply)
    logits = apply(variables, *pairs)
    np.testing.assert_allclose(logits, exact_logits(variables["params"], *pairs), atol=5e-5)
    np.testing.assert_array_equal(logits, apply(variables, *(with_junk(rng, p) for p in pairs)))
    blank = lambda tokens: Tokens(tokens.states, np.zeros_like(tokens.mask))
    nothing = [Fused(text=blank(p.text), image=blank(p.image)) for p in pairs]
    assert np.isfinite(apply(variables, *nothing)).all()

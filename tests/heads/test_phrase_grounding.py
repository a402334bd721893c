"""Phrases point at regions: scaled dot products, masked regions far below."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import meta

from vlp_jax.heads.phrase_grounding import PhraseGroundingHead
from vlp_jax.layers.tokens import Tokens


def test_logits_are_scaled_dot_products_of_the_two_projections():
    keys = jax.random.split(jax.random.key(0), 3)
    phrases, states = (jax.random.normal(k, (2, n, 5)) for k, n in zip(keys, (3, 4)))
    regions = Tokens(states, jnp.array([[1, 1, 1, 1], [1, 0, 0, 1]], bool))
    head = PhraseGroundingHead(width=7)
    params = meta.unbox(head.init(keys[2], phrases, regions))
    logits = head.apply(params, phrases, regions)
    of = lambda name, x: x @ params["params"][name]["kernel"] + params["params"][name]["bias"]
    expected = of("query", phrases) @ of("key", states).swapaxes(1, 2) / np.sqrt(7)
    np.testing.assert_allclose(logits[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(logits[1, :, [0, 3]], expected[1, :, [0, 3]], atol=1e-5)
    assert (logits[1, :, 1:3] < -9e3).all()

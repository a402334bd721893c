"""The answer pooler reads the last token but one and keeps the pooler of [CLS]."""

import jax
import jax.numpy as jnp
import numpy as np

from vlp_jax.heads.answer_token import AnswerTokenPooler, answer_position
from vlp_jax.layers.tokens import Fused, Tokens


def test_position_is_two_before_the_number_of_real_tokens():
    mask = jnp.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    assert answer_position(mask).tolist() == [2, 0, 0, 0]


def test_pooler_returns_the_state_there_and_sows_the_first_tokens_vector():
    states = jax.random.normal(jax.random.key(0), (2, 4, 3))
    mask = jnp.array([[1, 1, 1, 1], [1, 1, 1, 0]], bool)
    fused = Fused(image=Tokens(states, mask), text=Tokens(states, mask))
    pooler = AnswerTokenPooler()
    params = pooler.init(jax.random.key(1), fused)["params"]
    pooled, sown = pooler.apply({"params": params}, fused, mutable=["intermediates"])
    np.testing.assert_array_equal(pooled, jnp.stack([states[0, 2], states[1, 1]]))
    dense = jax.tree.map(lambda box: box.unbox(), params, is_leaf=lambda x: hasattr(x, "unbox"))
    dense = dense["first_token"]["dense"]
    first = jnp.tanh(states[:, 0] @ dense["kernel"] + dense["bias"])
    np.testing.assert_allclose(sown["intermediates"]["first_token_vector"][0], first, atol=1e-6)

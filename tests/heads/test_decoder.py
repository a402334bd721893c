"""The decoder: causal, conditioned on its context, and the same word by word."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import meta

from vlp_jax.heads.decoder import AnswerDecoder
from vlp_jax.layers.attention import CONTEXT, MEMORY
from vlp_jax.layers.tokens import Tokens

DECODER = AnswerDecoder(
    vocab_size=20, layers=2, heads=2, mlp_width=12, max_length=6, types=2, dropout=0.0
)


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng()
    ids, question = jnp.ones((1, 2), int), Tokens(jnp.zeros((1, 2, 8)), jnp.ones((1, 2), bool))
    drawn = meta.unbox(DECODER.init(jax.random.key(0), ids, ids > 0, question))["params"]
    return jax.tree.map(lambda x: x + 0.3 * rng.standard_normal(x.shape), drawn)


@pytest.fixture(scope="module")
def call(params):
    rng = np.random.default_rng()
    states = jnp.asarray(rng.standard_normal((3, 5, 8)), jnp.float32)
    mask = jnp.arange(5) < jnp.array([[5], [4], [2]])
    ids = jnp.asarray(rng.integers(1, 20, (3, 6)))
    apply = jax.jit(lambda *inputs: DECODER.apply({"params": params}, *inputs))
    return apply, ids, Tokens(states, mask)


def test_words_do_not_see_what_follows_them(call):
    apply, ids, question = call
    logits = apply(ids, ids > 0, question)
    changed = apply(ids.at[:, 4].set(ids[:, 4] % 19 + 1), ids > 0, question)
    np.testing.assert_allclose(changed[:, :4], logits[:, :4], atol=1e-6)
    assert np.abs(changed[:, 4:] - logits[:, 4:]).min(-1).max() > 1e-3


def test_texts_depend_on_the_context_but_not_on_its_padding(call):
    apply, ids, question = call
    other = Tokens(question.states.at[:, 2].add(1.0), question.mask)
    logits = apply(ids, ids > 0, question)
    assert np.abs(apply(ids, ids > 0, other) - logits).max() > 1e-3
    hidden = question.mask.at[:, 2].set(False)
    np.testing.assert_allclose(
        apply(ids, ids > 0, Tokens(question.states, hidden)),
        apply(ids, ids > 0, Tokens(other.states, hidden)),
        atol=1e-5,
    )


def test_a_text_that_is_too_long_is_an_error():
    question = Tokens(jnp.zeros((1, 2, 8)), jnp.ones((1, 2), bool))
    with pytest.raises(ValueError, match="7 tokens exceeds the 6 positions"):
        DECODER.init(jax.random.key(0), jnp.zeros((1, 7), int), jnp.ones((1, 7), bool), question)


@pytest.mark.slow
@pytest.mark.parametrize("scan_layers", ["on", "off"])
def test_word_by_word_it_says_what_it_says_of_the_whole(call, params, scan_layers):
    apply, ids, question = call
    decoder = DECODER.clone(scan_layers=scan_layers)
    whole, kept, found = apply(ids, ids > 0, question), {}, []
    for place in range(ids.shape[1]):
        changes = [MEMORY] if kept else [MEMORY, CONTEXT]
        inputs = ids[:, place, None], ids > 0, question, place
        logits, made = decoder.apply({"params": params} | kept, *inputs, mutable=changes)
        found.append(logits)
        kept |= made
        question = Tokens(jnp.full_like(question.states, jnp.nan), question.mask)  # read no more
    np.testing.assert_allclose(jnp.concatenate(found, 1), whole, atol=1e-5)


def test_texts_of_one_context_share_it(call):
    apply, ids, question = call
    twice = jnp.concatenate([ids, ids[:, ::-1]], 1).reshape(6, 6)
    each = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), question)
    np.testing.assert_allclose(
        apply(twice, twice > 0, question), apply(twice, twice > 0, each), atol=1e-5
    )

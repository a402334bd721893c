"""The answer decoder: causal, conditioned on the question, and its published ranking."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import meta

from vlp_jax.heads.answer_decoder import AnswerDecoder, answer_log_likelihood, rank_answers
from vlp_jax.layers.tokens import Tokens

DECODER = AnswerDecoder(
    vocab_size=20, layers=2, heads=2, mlp_width=12, max_length=6, types=2, dropout=0.0
)


@pytest.fixture(scope="module")
def call():
    rng = np.random.default_rng()
    states = jnp.asarray(rng.standard_normal((3, 5, 8)), jnp.float32)
    question = Tokens(states, jnp.ones((3, 5), bool))
    ids = jnp.asarray(rng.integers(1, 20, (3, 6)))
    params = meta.unbox(DECODER.init(jax.random.key(0), ids, ids > 0, question))["params"]
    params = jax.tree.map(lambda x: x + 0.3 * rng.standard_normal(x.shape), params)
    apply = jax.jit(lambda *inputs: DECODER.apply({"params": params}, *inputs))
    return apply, ids, question


def test_words_do_not_see_what_follows_them(call):
    apply, ids, question = call
    logits = apply(ids, ids > 0, question)
    changed = apply(ids.at[:, 4].set(ids[:, 4] % 19 + 1), ids > 0, question)
    np.testing.assert_allclose(changed[:, :4], logits[:, :4], atol=1e-6)
    assert np.abs(changed[:, 4:] - logits[:, 4:]).min(-1).max() > 1e-3


def test_answers_depend_on_the_question_but_not_on_its_padding(call):
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


def test_an_answer_that_is_too_long_is_an_error():
    question = Tokens(jnp.zeros((1, 2, 8)), jnp.ones((1, 2), bool))
    with pytest.raises(ValueError, match="7 tokens exceeds the 6 positions"):
        DECODER.init(jax.random.key(0), jnp.zeros((1, 7), int), jnp.ones((1, 7), bool), question)


def test_log_likelihood_sums_the_words_after_the_first_and_skips_padding():
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.9, 0.05, 0.05]]]))
    ids, mask = jnp.array([[1, 0, 2]]), jnp.array([[True, True, True]])
    assert answer_log_likelihood(logits, ids, mask)[0] == pytest.approx(np.log(0.5 * 0.8), abs=1e-6)
    short = mask.at[0, 2].set(False)
    assert answer_log_likelihood(logits, ids, short)[0] == pytest.approx(np.log(0.5), abs=1e-6)


def test_published_ranking_counts_the_first_word_twice_and_the_corrected_one_does_not():
    first = jnp.array([[0.6, 0.3, 0.1]])
    likelihood = jnp.log(jnp.array([[0.2, 0.3, 0.09]]))
    ids, probabilities = rank_answers(first, likelihood, k=2)
    assert ids.tolist() == [[0, 1]]
    np.testing.assert_allclose(probabilities[0], np.array([0.12, 0.09]) / 0.21, rtol=1e-5)
    ids, probabilities = rank_answers(first, likelihood, k=2, count_first_word_twice=False)
    assert ids.tolist() == [[1, 0]]
    np.testing.assert_allclose(probabilities[0], [0.6, 0.4], rtol=1e-5)


def test_only_answers_with_the_likeliest_first_words_are_ranked():
    first = jnp.array([[0.1, 0.5, 0.4]])
    likelihood = jnp.array([[-0.01, -5.0, -9.0]])
    assert rank_answers(first, likelihood, k=2)[0].tolist() == [[1, 2]]
    assert rank_answers(first, likelihood, k=3)[0].tolist() == [[0, 1, 2]]


def test_equal_answers_keep_the_order_of_the_list():
    equal = jnp.full((1, 5), 0.2)
    assert rank_answers(equal, jnp.log(equal), k=3)[0].tolist() == [[0, 1, 2]]

"""What a decoder says of whole answers, and its published ranking."""

import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.heads.answer_scores import answer_log_likelihood, rank_answers


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

"""Ranking by the decoder: the scores of `rank_answers`, from the likeliest answers alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.tiny import BLOCK, VOCABULARY, random_batch, random_params, tiny_model
from vlp_jax.heads.answer_decoder import answer_log_likelihood, rank_answers
from vlp_jax.model import VisionLanguageModel
from vlp_jax.model.answer_ranking import ranked_answer_scores
from vlp_jax.model.bound import Bound

SIZE, ANSWERS = 3, 6


@pytest.fixture(scope="module")
def case():
    """A model that writes answers, its parameters, encoded questions and images, and answers."""
    rng = np.random.default_rng()
    decoder = {"vocab_size": VOCABULARY, "layers": 1, "max_length": 8, **BLOCK}
    model = tiny_model(heads={"answer": decoder})
    bound = Bound(model, random_params(model, rng))
    batch = random_batch(rng, size=SIZE)
    images = bound.images(batch)
    questions = bound.texts(batch["question_ids"], batch["question_mask"])
    lengths = rng.integers(2, 5, ANSWERS)
    ids = rng.integers(1, VOCABULARY, (ANSWERS, 4)).astype(np.int32)
    ids[:, 0] = 2
    return bound, questions, images, ids, np.arange(4) < lengths[:, None]


def rank_all(bound, questions, images, ids, mask, k):
    """Decodes every answer to every question, and ranks them."""

    def words(model, questions, images, ids, mask):
        return model.answer_words(model.fuse(questions, images), ids, mask)

    variables = {"params": bound.params}
    apply = lambda *x: bound.model.apply(variables, questions, images, *x, method=words)
    every = [np.broadcast_to(x, (SIZE, *x.shape)) for x in (ids, mask)]
    first = apply(every[0][:, :1, :1], every[1][:, :1, :1])[:, 0, 0]
    likelihoods = answer_log_likelihood(apply(*every), *every)
    return rank_answers(jax.nn.softmax(first)[:, ids[:, 1]], likelihoods, k)


@pytest.mark.parametrize("keep", [2, ANSWERS])
def test_the_softmax_of_the_scores_is_the_published_ranking(case, keep):
    bound, *encoded = case
    scores = ranked_answer_scores(bound.model, bound.params, *encoded, keep=keep)
    assert scores.shape == (SIZE, ANSWERS)
    assert (np.isfinite(scores).sum(-1) == keep).all()
    order, probabilities = rank_all(bound, *encoded, k=keep)
    found = jax.nn.softmax(scores)
    np.testing.assert_allclose(
        jnp.take_along_axis(found, order, axis=-1), probabilities, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(np.argmax(scores, -1), order[:, 0])


def test_a_bound_model_gives_the_same_scores(case):
    bound, *encoded = case
    exact = ranked_answer_scores(bound.model, bound.params, *encoded)
    np.testing.assert_allclose(bound.answer_scores(*encoded), exact, rtol=1e-4, atol=1e-5)


def test_answers_of_one_question_do_not_depend_on_each_other(case):
    bound, questions, images, ids, mask = case
    ids, mask = (np.broadcast_to(x, (SIZE, *x.shape)) for x in (ids, mask))
    fuse_and_write = lambda model, q, i, *x: VisionLanguageModel.answer_words(
        model, model.fuse(q, i), *x
    )
    apply = lambda *x: bound.model.apply(
        {"params": bound.params}, questions, images, *x, method=fuse_and_write
    )
    np.testing.assert_allclose(
        apply(ids, mask)[:, 2:3], apply(ids[:, 2:3], mask[:, 2:3]), atol=1e-5
    )

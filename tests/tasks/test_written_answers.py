"""Answers that a decoder writes: weights, words, filling, and the teacher's share."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.tiny import BLOCK, VOCABULARY, random_batch, random_params, tiny_model
from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.heads.answer_scores import answer_log_likelihood, rank_answers
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.model import Forward, Views
from vlp_jax.tasks.questions import QUESTION
from vlp_jax.tasks.written_answers import (
    WrittenAnswerTask,
    answer_words,
    ranked_answers,
    ranked_list,
)

# Two questions with two answers each: [CLS] word [SEP]; [CLS] [SEP] and filling; nothing.
IDS = np.array([[[1, 3, 2], [1, 2, 0]], [[1, 3, 2], [0, 0, 0]]], np.int32)
MASK = IDS != 0
WEIGHTS = np.array([[0.5, 0.25], [1.0, 0.0]], np.float32)
UNIFORM = np.zeros((2, 2, 3, 4), np.float32)
LOG4 = np.log(4)


class Decoded(FakeViews):
    """Views whose decoder has written these logits."""

    def __init__(self, logits):
        super().__init__(dict(answer_ids=IDS, answer_mask=MASK, answer_weights=WEIGHTS))
        flat = jnp.asarray(logits).reshape(-1, *logits.shape[2:])
        self.model = SimpleNamespace(head={"answer": lambda *_, **__: flat}.get)

    def fused(self, fields=QUESTION):
        assert fields == QUESTION
        tokens = Tokens(jnp.zeros((len(IDS), 1, 1)), jnp.ones((len(IDS), 1), bool))
        return Fused(image=tokens, text=tokens)


def result(logits, teacher=None, alpha=0.4, ramp=1.0):
    teacher = None if teacher is None else Decoded(teacher)
    return loss_of(WrittenAnswerTask(alpha=alpha), Decoded(logits), teacher, ramp=ramp)


def test_words_and_end_are_summed_weighted_and_averaged_over_questions():
    assert result(UNIFORM).loss == pytest.approx((0.5 * 2 + 0.25 * 1 + 1.0 * 2) * LOG4 / 2)


def test_filling_counts_for_nothing():
    logits = UNIFORM.copy()
    logits[1, 1] = 50 * np.random.default_rng().normal(size=(3, 4))
    logits[:, :, 2] = 70  # what would follow the last position
    assert result(logits).loss == pytest.approx(result(UNIFORM).loss)


def test_words_that_are_right():
    logits = UNIFORM.copy()
    logits[0, 0, 0, 3] = logits[1, 0, 1, 2] = 9
    logits[0, 0, 1, 1] = logits[0, 1, 0, 3] = logits[1, 0, 0, 1] = 9
    assert result(logits).metrics["answer_word_accuracy"] == pytest.approx(2 / 5)


def test_the_teacher_takes_its_share_as_far_as_the_ramp_is():
    teacher = UNIFORM.copy()
    teacher[..., 1] = 50
    logits = np.log(np.array([1, 2, 4, 1], np.float32) / 8) + UNIFORM
    by_word = np.array([np.log(8), np.log(2)])  # of token 3, of the end
    hard = np.array([[by_word.sum(), by_word[1]], [by_word.sum(), 0]])
    soft = np.log(4) * MASK[..., 1:].sum(-1)
    exact = (WEIGHTS * (0.9 * hard + 0.1 * soft)).sum() / 2
    assert result(logits, teacher, alpha=0.4, ramp=0.25).loss == pytest.approx(exact, rel=1e-5)
    assert result(logits, teacher, alpha=0.0).loss == pytest.approx((WEIGHTS * hard).sum() / 2)


def test_no_gradient_reaches_the_teacher():
    slope = jax.grad(lambda logits: result(UNIFORM, logits).loss)(jnp.ones_like(UNIFORM))
    assert not slope.any()


SIZE, ANSWERS = 3, 6


@pytest.fixture(scope="module")
def ranking():
    """A model that writes answers, with its parameters; questions about images; and answers."""
    rng = np.random.default_rng()
    decoder = {"vocab_size": VOCABULARY, "layers": 1, "max_length": 8, **BLOCK}
    model = tiny_model(heads={"answer": decoder})
    forward = Forward(model, random_params(model, rng))
    lengths = rng.integers(2, 5, ANSWERS)
    ids = rng.integers(1, VOCABULARY, (ANSWERS, 4)).astype(np.int32)
    ids[:, 0] = 2
    answers = jnp.asarray(ids), np.arange(4) < jnp.asarray(lengths)[:, None]
    return forward, random_batch(rng, size=SIZE), *answers


def written(forward, batch, ids, mask):
    """Returns the next-word logits of answers [B, K, L] to each question."""
    run = lambda views, ids, mask: views.run(
        answer_words, views.fused(QUESTION), ids, mask, name="words"
    )
    return jax.jit(lambda *x: run(Views(forward.model, forward.params, batch), *x))(ids, mask)


def rank_all(forward, batch, ids, mask, k):
    """Decodes every answer to every question, and ranks them."""
    every = [np.broadcast_to(x, (SIZE, *x.shape)) for x in (ids, mask)]
    first = written(forward, batch, every[0][:, :1, :1], every[1][:, :1, :1])[:, 0, 0]
    likelihoods = answer_log_likelihood(written(forward, batch, *every), *every)
    return rank_answers(jax.nn.softmax(first)[:, ids[:, 1]], likelihoods, k)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [2, ANSWERS])
def test_the_softmax_of_the_scores_is_the_published_ranking(ranking, keep):
    forward, batch, ids, mask = ranking
    scores = forward(lambda views: ranked_answers(views, ids, mask, keep), batch)
    assert scores.shape == (SIZE, ANSWERS)
    assert (np.isfinite(scores).sum(-1) == keep).all()
    order, probabilities = rank_all(forward, batch, ids, mask, k=keep)
    found = jax.nn.softmax(scores)
    np.testing.assert_allclose(
        jnp.take_along_axis(found, order, axis=-1), probabilities, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(np.argmax(scores, -1), order[:, 0])


@pytest.mark.slow
def test_answers_given_as_pieces_have_the_same_scores(ranking):
    forward, batch, ids, mask = ranking
    pieces = tuple(tuple(row[real].tolist()) for row, real in zip(ids, mask))
    exact = forward(lambda views: ranked_answers(views, ids, mask), batch)
    found = forward(partial(ranked_list, answers=pieces), batch)
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)


def test_answers_of_one_question_do_not_depend_on_each_other(ranking):
    forward, batch, ids, mask = ranking
    ids, mask = (np.broadcast_to(x, (SIZE, *x.shape)) for x in (ids, mask))
    all_of_them = written(forward, batch, ids, mask)
    alone = written(forward, batch, ids[:, 2:3], mask[:, 2:3])
    np.testing.assert_allclose(all_of_them[:, 2:3], alone, atol=1e-5)

"""Answers that a decoder writes: weights, words, filling, and the teacher's share."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.objectives.fakes import FakeViews
from vlp_jax.objectives.generative_answers import GenerativeAnswerObjective

ONE = jnp.ones(())
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
        self.logits = jnp.asarray(logits)
        self.model = SimpleNamespace(answer_words=lambda fused, ids, mask, **_: self.logits)

    @property
    def size(self):
        return len(IDS)


def result(logits, teacher=None, alpha=0.4, ramp=1.0):
    teacher = None if teacher is None else Teacher(teacher)
    objective = GenerativeAnswerObjective(alpha=alpha)
    return objective(Decoded(logits), teacher, None, jnp.float32(ramp))


class Teacher(Decoded):
    def run(self, method, *inputs, name):
        return self.logits


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

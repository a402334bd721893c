"""Answers as text: the words after [CLS] count, summed, and each answer by its weight."""

import jax
import numpy as np
import pytest

from vlp_jax.losses.answer_text import answer_text_losses, weighted_answer_loss

# [CLS] word [SEP] and, in the second answer, padding.
IDS = np.array([[1, 3, 2], [1, 2, 0]])
UNIFORM = np.zeros((2, 3, 4), np.float32)


def test_the_words_after_the_first_are_summed_and_padding_is_not():
    losses = answer_text_losses(UNIFORM, IDS, IDS != 0)
    np.testing.assert_allclose(losses, [2 * np.log(4), np.log(4)], rtol=1e-6)


def test_the_logits_of_a_position_are_for_the_next_word():
    logits = UNIFORM.copy()
    logits[0, 0, 3] = logits[0, 1, 2] = logits[1, 0, 2] = 50
    np.testing.assert_allclose(answer_text_losses(logits, IDS, IDS != 0), [0, 0], atol=1e-6)


def test_the_teacher_takes_its_share():
    teacher = UNIFORM.copy()
    teacher[..., 1] = 50
    logits = np.log(np.array([1, 2, 4, 1], np.float32) / 8) + UNIFORM
    losses = answer_text_losses(logits, IDS, IDS != 0, teacher, 0.25)
    hard = np.array([np.log(8) + np.log(2), np.log(2)])
    np.testing.assert_allclose(losses, 0.75 * hard + 0.25 * np.log(4) * np.array([2, 1]), rtol=1e-5)


def test_no_gradient_reaches_the_teacher():
    def loss(teacher):
        return answer_text_losses(UNIFORM, IDS, IDS != 0, teacher, 0.5).sum()

    assert not jax.grad(loss)(np.ones_like(UNIFORM)).any()


def test_answers_are_weighted_over_the_number_of_questions():
    loss = weighted_answer_loss(np.array([2.0, 3.0, 4.0]), np.array([1.0, 0.5, 0.25]), 2)
    assert loss == pytest.approx(4.5 / 2)

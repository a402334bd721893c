"""Answers from a list: the loss of each form, several questions an image, and the evaluation."""

import jax
import numpy as np
import pytest

from tests.model.tiny import random_batch, random_params, tiny_model
from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.losses.answers import answer_loss
from vlp_jax.model import Views
from vlp_jax.tasks.answers import AnswerTask

LOGITS = np.array([[0.0, 1, -1]] * 2, np.float32)


@pytest.mark.parametrize("form", ["bce", "ce", "kl", "kl_unnormalised"])
def test_loss_and_accuracy(form):
    batch = {"answer_scores": np.array([[1, 0, 0.5], [0, 0.3, 0]], np.float32)}
    result = loss_of(AnswerTask(form=form), FakeViews(batch, vqa=LOGITS))
    exact = answer_loss(LOGITS, batch["answer_scores"], form)
    assert result.loss == pytest.approx(exact)
    assert result.metrics["vqa_accuracy"] == pytest.approx(0.15)


def test_several_questions_an_image_are_as_many_examples():
    """K questions of one image against the same questions, each with a copy of the image."""
    model = tiny_model()
    params = random_params(model, np.random.default_rng(1))
    several = dict(random_batch(np.random.default_rng(2), size=3))
    rng = np.random.default_rng(3)
    count, length = 4, 5
    several["question_ids"] = rng.integers(1, 20, (3, count, length)).astype(np.int32)
    several["question_mask"] = np.arange(length) < rng.integers(1, length + 1, (3, count, 1))
    several["answer_scores"] = rng.random((3, count, 5)).astype(np.float32)
    names = ("question_ids", "question_mask", "answer_scores")
    each = {name: several[name].reshape(-1, *several[name].shape[2:]) for name in names}
    each["image"] = np.repeat(several["image"], count, axis=0)

    def loss(params, batch):
        return loss_of(AnswerTask(), Views(model, params, batch)).loss

    one, gradient = jax.jit(jax.value_and_grad(loss))(params, several)
    other, wanted = jax.jit(jax.value_and_grad(loss))(params, each)
    assert one == pytest.approx(float(other), rel=1e-6)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

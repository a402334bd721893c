"""Tests of the answer losses by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.tiny import random_batch, random_params, tiny_model
from tests.objectives.fakes import FakeViews
from vlp_jax.losses.answers import answer_loss
from vlp_jax.objectives.answers import AnswerObjective
from vlp_jax.objectives.views import Views

LOGITS = np.array([[0.0, 1, -1]], np.float32)
SCORES = np.array([[1.0, 0, 0.5]], np.float32)
LOG_SUM = math.log(1 + math.e + 1 / math.e)
ENTROPY = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
EXACT = {
    "bce": math.log(2)
    + math.log(1 + math.e)
    + (math.log(1 + math.e) + math.log(1 + 1 / math.e)) / 2,
    "ce": 2 / 3 * LOG_SUM + 1 / 3 * (LOG_SUM + 1),
    "kl": LOG_SUM + 1 / 3 - ENTROPY,
    "kl_unnormalised": 1.5 * LOG_SUM + 0.5 + 0.5 * math.log(0.5),
}


@pytest.mark.parametrize(
    ("form", "literal"),
    [("bce", 2.819671), ("ce", 1.740939), ("kl", 1.104425), ("kl_unnormalised", 2.264836)],
)
def test_loss(form, literal):
    assert answer_loss(LOGITS, SCORES, form) == pytest.approx(EXACT[form], rel=1e-6)
    assert answer_loss(LOGITS, SCORES, form) == pytest.approx(literal, abs=1e-5)


@pytest.mark.parametrize("form", EXACT)
def test_the_mean_is_over_questions(form):
    logits, scores = np.concatenate([LOGITS, 3 * LOGITS]), np.repeat(SCORES, 2, 0)
    both = [answer_loss(3 * LOGITS, SCORES, form), EXACT[form]]
    assert answer_loss(logits, scores, form) == pytest.approx(np.mean(both), rel=1e-6)


def test_kl_is_zero_where_the_model_is_right():
    targets = np.array([[0.5, 0.25, 0.25]], np.float32)
    assert answer_loss(np.log(targets), targets, "kl") == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("form", EXACT)
@pytest.mark.parametrize("scale", [0, 1e4])
def test_questions_without_an_answer_and_huge_logits_are_finite(form, scale):
    logits, scores = scale * LOGITS, np.zeros_like(SCORES)
    value, gradient = jax.value_and_grad(answer_loss)(jnp.asarray(logits), scores, form)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    if form != "bce":
        assert value == 0 and not gradient.any()


@pytest.mark.parametrize("form", EXACT)
def test_objective(form):
    batch = {"answer_scores": np.array([[1, 0, 0.5], [0, 0.3, 0]], np.float32)}
    views = FakeViews(batch, answer=np.repeat(LOGITS, 2, 0))
    result = AnswerObjective(form=form)(views, None, None, jnp.ones(()))
    exact = answer_loss(np.repeat(LOGITS, 2, 0), batch["answer_scores"], form)
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
        return AnswerObjective()(Views(model, params, batch), None, None, jnp.ones(())).loss

    one, gradient = jax.jit(jax.value_and_grad(loss))(params, several)
    other, wanted = jax.jit(jax.value_and_grad(loss))(params, each)
    assert one == pytest.approx(float(other), rel=1e-6)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

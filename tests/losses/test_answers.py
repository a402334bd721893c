"""Tests of the answer losses by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.losses.answers import answer_loss

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

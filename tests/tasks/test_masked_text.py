"""Tests of masked language modelling: values computed by hand, distillation, no masked word."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.tasks.masked_text import MaskedTextTask

# Word logits [B, L, V]; the fake model takes states for logits.
LOGITS = np.array([[[0.0, 0, 0], [1, 0, 0]], [[0, 2, 0], [0, 0, 9]]], np.float32)
LABELS = [[-100, 0], [0, -100]]
HARD = (math.log(math.e + 2) - 1 + math.log(2 + math.e**2)) / 2


def views(labels=LABELS, states=LOGITS):
    return FakeViews({"mlm_labels": np.array(labels, np.int32)}, states=jnp.asarray(states))


def test_only_masked_words_count():
    result = loss_of(MaskedTextTask(), views())
    assert result.loss == pytest.approx(HARD, rel=1e-6)
    assert result.metrics == {"mlm_accuracy": 0.5}


def test_the_mean_is_over_all_masked_words_not_over_texts():
    result = loss_of(MaskedTextTask(), views([[0, 0], [0, -100]]))
    assert result.loss == pytest.approx((2 * HARD + math.log(3)) / 3, rel=1e-6)
    assert result.metrics["mlm_accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("ramp", [0.0, 0.5, 1.0])
def test_distillation(alpha, ramp):
    taught = views(states=np.log(np.broadcast_to([0.5, 0.25, 0.25], (2, 2, 3))))
    result = loss_of(MaskedTextTask(alpha=alpha), views(), taught, ramp=ramp)
    first = math.log(math.e + 2) - 0.5
    second = math.log(2 + math.e**2) - 0.25 * 2
    soft, share = (first + second) / 2, alpha * ramp
    assert result.loss == pytest.approx((1 - share) * HARD + share * soft, rel=1e-6)


@pytest.mark.parametrize("teacher", [None, views(np.full((2, 2), -100))])
def test_no_masked_word_gives_zero(teacher):
    def loss(states):
        own = views(np.full((2, 2), -100), states)
        return loss_of(MaskedTextTask(), own, teacher).loss

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(LOGITS))
    assert value == 0 and not gradient.any()
    own = views(np.full((2, 2), -100))
    assert loss_of(MaskedTextTask(), own, teacher).metrics["mlm_accuracy"] == 0


def test_the_teacher_gets_no_gradient():
    def loss(states):
        return loss_of(MaskedTextTask(alpha=1.0), views(), views(states=states)).loss

    assert not jax.grad(loss)(jnp.asarray(LOGITS)).any()

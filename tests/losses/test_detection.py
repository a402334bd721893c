"""Losses of detection: literal values, NumPy's, and gradients that padding does not reach."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.losses.detection import box_loss, class_loss, objectness_loss, smooth_l1


@pytest.mark.parametrize("turn", [1.0, 1 / 9])
def test_smooth_l1_is_a_square_and_then_a_line(turn):
    rng = np.random.default_rng()
    predicted, targets = rng.normal(size=(2, 30, 4))
    x = np.abs(predicted - targets)
    wanted = np.where(x < turn, x**2 / (2 * turn), x - turn / 2).sum(1)
    np.testing.assert_allclose(smooth_l1(predicted, targets, turn), wanted, rtol=1e-5)


def test_objectness_is_a_mean_over_what_was_drawn():
    logits = jnp.array([math.log(3), math.log(3), 50.0])
    drawn = jnp.array([True, False, False]), jnp.array([False, True, False])
    # -log 3/4 and -log 1/4
    wanted = (math.log(4 / 3) + math.log(4)) / 2
    assert objectness_loss(logits, *drawn) == pytest.approx(wanted, rel=1e-6)


def test_classes_are_a_mean_over_what_was_drawn():
    logits = jnp.log(jnp.array([[1.0, 1, 2], [1, 2, 1], [9, 1, 1]]))
    loss = class_loss(logits, jnp.array([2, 0, 1]), jnp.array([True, True, False]))
    assert loss == pytest.approx((math.log(2) + math.log(4)) / 2, rel=1e-6)


def test_boxes_are_a_sum_over_objects_by_the_number_drawn():
    deltas = jnp.array([[0.0, 0, 0, 3], [0.5, 0, 0, 0], [9, 9, 9, 9]])
    positive, drawn = jnp.array([True, True, False]), jnp.array([True, True, True])
    targets = jnp.zeros((3, 4)).at[2].set(jnp.nan)
    loss, slope = jax.value_and_grad(box_loss)(deltas, targets, positive, drawn, 1.0)
    assert loss == pytest.approx((2.5 + 0.125) / 3)
    np.testing.assert_allclose(slope, [[0, 0, 0, 1 / 3], [0.5 / 3, 0, 0, 0], [0] * 4], atol=1e-6)


def test_nothing_drawn_is_no_loss():
    none = jnp.zeros(2, bool)
    assert objectness_loss(jnp.ones(2), none, none) == 0
    assert class_loss(jnp.ones((2, 3)), jnp.zeros(2, int), none) == 0
    assert box_loss(jnp.ones((2, 4)), jnp.full((2, 4), jnp.nan), none, none, 1.0) == 0

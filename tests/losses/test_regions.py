"""Losses of regions: literal values, and each model's denominator."""

import math

import jax
import numpy as np
import pytest

from vlp_jax.losses.regions import (
    best_class,
    class_losses,
    feature_losses,
    weighted_region_loss,
)

# Softmax shares of 1/4, 1/4, 1/2.
LOGITS = np.log(np.array([[1.0, 1.0, 2.0]], np.float32))


@pytest.mark.parametrize("form, expected", [("l2", 4.25 / 2), ("smooth_l1", 1.625 / 2)])
def test_features_are_averaged_over_their_numbers(form, expected):
    losses = feature_losses(np.array([[3.0, 0.5]]), np.array([[1.0, 1.0]]), form)
    np.testing.assert_allclose(losses, [expected])


@pytest.mark.parametrize(
    "form, expected",
    [
        # 0.5·log(0.5/0.25) + 0.5·log(0.5/0.5)
        ("kl_sum", 0.5 * math.log(2)),
        ("kl_mean", 0.5 * math.log(2) / 3),
        ("ce", math.log(4)),
    ],
)
def test_classes_against_soft_labels(form, expected):
    losses = class_losses(LOGITS, np.array([[0.0, 0.5, 0.5]], np.float32), form)
    np.testing.assert_allclose(losses, [expected], rtol=1e-6)


def test_the_best_class_is_never_the_background():
    scores = np.array([[0.9, 0.04, 0.06], [0.2, 0.7, 0.1], [1.0, 0.0, 0.0]])
    assert best_class(scores).tolist() == [2, 1, 1]


def test_scores_of_zero_have_a_finite_gradient():
    scores = np.array([[0.0, 1.0, 0.0]], np.float32)
    slope = jax.grad(lambda x: class_losses(x, scores, "kl_sum").sum())(LOGITS)
    np.testing.assert_allclose(slope, [[0.25, -0.75, 0.5]], atol=1e-6)


def test_the_mean_is_over_all_regions_that_are_real():
    values, weights = np.array([[3.0, 5.0, 100.0]]), np.array([[1.0, 0.0, 1.0]])
    real = np.array([[True, True, False]])
    assert weighted_region_loss(values, weights, real, 1.0) == 1.5
    assert weighted_region_loss(values, weights, scale=1.0) == pytest.approx(103 / 3)
    assert weighted_region_loss(values[:, :2], weights[:, :2]) == pytest.approx(10)

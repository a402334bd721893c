"""Tests of the losses that several tasks share."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.losses.cross_entropy import (
    cross_entropy,
    distilled_cross_entropy,
    divergence_terms,
    labelled_mean,
    masked_mean,
    soft_cross_entropy,
)

LOGITS = np.array([[0.0, 1, -1], [2, 2, 2]], np.float32)


def test_cross_entropy():
    losses = cross_entropy(LOGITS, np.array([1, 2]))
    exact = [math.log(1 + math.e + 1 / math.e) - 1, math.log(3)]
    np.testing.assert_allclose(losses, exact, rtol=1e-6)


def test_soft_cross_entropy():
    losses = soft_cross_entropy(LOGITS, np.array([[0, 0.25, 0.75], [0, 0, 0]], np.float32))
    exact = math.log(1 + math.e + 1 / math.e) - 0.25 + 0.75
    np.testing.assert_allclose(losses, [exact, 0], rtol=1e-6)


def test_both_are_one_on_one_hot_targets_and_in_float32():
    rng = np.random.default_rng()
    logits = jnp.asarray(rng.normal(size=(4, 5)), jnp.bfloat16)
    labels = rng.integers(0, 5, 4)
    hard = cross_entropy(logits, labels)
    soft = soft_cross_entropy(logits, jax.nn.one_hot(labels, 5))
    np.testing.assert_allclose(hard, soft, rtol=1e-6)
    assert hard.dtype == soft.dtype == jnp.float32


def test_huge_logits_are_finite():
    logits = np.array([[1e4, -1e4, 0]], np.float32)
    assert cross_entropy(logits, np.array([1])) == pytest.approx(2e4)
    assert cross_entropy(logits, np.array([0])) == 0


def test_masked_mean():
    values = np.array([[1.0, 2], [3, 100]], np.float32)
    assert masked_mean(values, np.array([[True, False], [True, False]])) == 2
    assert masked_mean(values, np.zeros((2, 2), bool)) == 0
    gradient = jax.grad(masked_mean)(values, np.zeros((2, 2), bool))
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))


def test_labelled_mean():
    exact = math.log(1 + math.e + 1 / math.e) - 1
    assert labelled_mean(LOGITS, np.array([1, -100])) == pytest.approx(exact, rel=1e-6)
    assert labelled_mean(LOGITS, np.array([-1, -1])) == 0


def test_divergence():
    targets = np.array([[0.5, 0.5, 0], [0.25, 0, 0]], np.float32)
    sums = divergence_terms(LOGITS, targets).sum(-1)
    first = math.log(1 + math.e + 1 / math.e) - 0.5 + math.log(0.5)
    np.testing.assert_allclose(sums, [first, 0.25 * (math.log(3) + math.log(0.25))], rtol=1e-5)
    gradient = jax.grad(lambda x: divergence_terms(x, targets).sum())(LOGITS)
    assert np.isfinite(gradient).all()


def test_distilled_cross_entropy():
    labels, teacher = np.array([1, 2]), np.log(np.array([[0.5, 0.5, 1e-9]] * 2, np.float32))
    hard = cross_entropy(LOGITS, labels)
    soft = soft_cross_entropy(LOGITS, np.array([[0.5, 0.5, 0]] * 2, np.float32))
    mixed = distilled_cross_entropy(LOGITS, labels, teacher, 0.4)
    np.testing.assert_allclose(mixed, 0.6 * hard + 0.4 * soft, rtol=1e-6)
    gradient = jax.grad(lambda t: distilled_cross_entropy(LOGITS, labels, t, 0.4).sum())(teacher)
    assert not gradient.any()

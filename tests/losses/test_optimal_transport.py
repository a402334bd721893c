"""The transport plan moves all mass, between real tokens only; gradients stay finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.optimal_transport import (
    alignment_loss,
    transport_distance,
    transport_plan,
)


def tokens(states, real):
    states = jnp.asarray(states, jnp.float32)
    return Tokens(states, jnp.arange(states.shape[1])[None] < jnp.asarray(real)[:, None])


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 4))
def test_every_real_token_sends_or_gets_its_share(seed, words, regions):
    cost = np.random.default_rng(seed).uniform(0, 2, (1, 5, 4)).astype(np.float32)
    rows, columns = jnp.arange(5)[None] < words, jnp.arange(4)[None] < regions
    plan = np.asarray(transport_plan(jnp.asarray(cost), rows, columns, iterations=500))
    np.testing.assert_allclose(plan.sum(2)[0], np.where(rows[0], 1 / words, 0), atol=2e-3)
    np.testing.assert_allclose(plan.sum(1)[0], np.where(columns[0], 1 / regions, 0), atol=2e-3)
    assert (plan >= 0).all()


def test_one_word_and_one_region_cost_one_minus_their_cosine():
    text, image = tokens([[[3.0, 4.0], [9, 9]]], [1]), tokens([[[5.0, 0.0]]], [1])
    np.testing.assert_allclose(transport_distance(text, image), [0.4], atol=1e-6)


def test_a_text_that_equals_its_image_costs_next_to_nothing():
    same = np.eye(3)[None]
    distance = transport_distance(tokens(same, [3]), tokens(same[:, ::-1], [3]))
    np.testing.assert_allclose(distance, [0.0], atol=1e-4)


def test_padding_changes_neither_distance_nor_gradient():
    draw = np.random.default_rng()
    text, image = draw.normal(size=(2, 4, 6)), draw.normal(size=(2, 5, 6))

    def distance(text, image):
        return transport_distance(tokens(text, [4, 2]), tokens(image, [3, 5])).sum()

    other = text.copy()
    other[1, 2:] = 1e3
    value, slope = jax.value_and_grad(distance)(text, image)
    np.testing.assert_allclose(value, distance(other, image), rtol=1e-5)
    assert np.isfinite(slope).all() and not slope[1, 2:].any() and slope[0].all()


def test_a_zero_state_has_a_finite_gradient():
    zero = np.zeros((1, 1, 3))
    slope = jax.grad(lambda x: transport_distance(tokens(x, [1]), tokens(zero + 1, [1])).sum())
    assert np.isfinite(slope(zero)).all()


def plan_step_by_step(cost, rows, columns, beta, iterations, inner):
    """Algorithm 1 of IPOT in float64, as it is written down."""
    kernel, plan, row_scale = np.exp(-cost / beta), np.ones_like(cost), np.full(rows, 1 / rows)
    for _ in range(iterations):
        weights = kernel * plan
        for _ in range(inner):
            column_scale = 1 / (columns * (row_scale @ weights))
            row_scale = 1 / (rows * (weights @ column_scale))
        plan = row_scale[:, None] * weights * column_scale
    return plan


@pytest.mark.parametrize("iterations, inner", [(1, 1), (3, 1), (1, 4), (5, 2)])
def test_the_plan_is_that_of_the_published_algorithm(iterations, inner):
    cost = np.random.default_rng().uniform(0, 2, (3, 4))
    every = lambda n: jnp.ones((1, n), bool)
    settings = 0.5, iterations, inner
    plan = transport_plan(jnp.asarray(cost[None], jnp.float32), every(3), every(4), *settings)
    np.testing.assert_allclose(plan[0], plan_step_by_step(cost, 3, 4, *settings), rtol=1e-4)


def test_the_loss_by_hand():
    distance, matched = np.array([0.5, 0.25, 1.0]), np.array([True, True, False])
    assert alignment_loss(distance, matched) == pytest.approx(-0.25 / 3)
    assert alignment_loss(distance, ~matched) == pytest.approx(0.25 / 3)


def test_the_gradient_draws_together_and_pushes_apart():
    slope = jax.grad(alignment_loss)(jnp.ones(4), np.array([True, False, True, False]))
    np.testing.assert_allclose(slope, [0.25, -0.25, 0.25, -0.25])

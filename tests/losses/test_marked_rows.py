"""Tests that the loss of marked rows is the same, however many of them there are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.losses.marked_rows import group_size, sum_over_marked
from vlp_jax.verify.forward import quick_jit

B, L, D = 4, 6, 3
SHARES = [(0.0, 0.2), (0.2, 0.2), (1.0, 0.2), (0.2, 0.0), (0.2, 1.0)]


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("marked_share, expected_share", SHARES)
def test_value_and_gradient(marked_share, expected_share, parts):
    rng = np.random.default_rng()
    states, weight = rng.normal(size=(B, L, D)), rng.normal(size=D)
    labels, marked = rng.normal(size=(B, L)), rng.random((B, L)) < marked_share

    def losses(states, labels, weight):
        return (jnp.sin(states @ weight) - labels) ** 2

    def found(states, weight):
        def group(states, labels, counted):
            return jnp.where(counted, losses(states, labels, weight), 0).sum(), counted.sum()

        loss, count = sum_over_marked(group, states, labels, marked, expected_share, parts)
        return 3 * loss, count

    def plain(states, weight):
        return 3 * jnp.where(marked, losses(states, labels, weight), 0).sum(), marked.sum()

    run = lambda f: quick_jit(jax.value_and_grad(f, (0, 1), has_aux=True))(states, weight)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), run(found), run(plain))


@pytest.mark.parametrize(
    "rows, share, size",
    [(1600, 0.15, 288), (100, 0.15, 32), (8, 0.5, 8), (1600, 0.0, 1), (1600, 1.0, 1600)],
)
def test_the_size_of_a_group(rows, share, size):
    assert group_size(rows, share) == size

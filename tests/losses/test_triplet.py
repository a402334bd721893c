"""The triplet loss: its groups, its margin, and its gradient."""

import jax
import numpy as np
import pytest

from vlp_jax.losses.triplet import triplet_losses

# Sigmoids of 0.5, 0.8 and 0.2.
HALF, HIGH, LOW = 0.0, np.log(4), -np.log(4)


def test_each_negative_against_the_first_of_its_group():
    losses = triplet_losses(np.array([HIGH, LOW, HALF, LOW, HIGH, LOW]), 3, 0.4)
    np.testing.assert_allclose(losses, [[0, 0.1], [1.0, 0.4]], atol=1e-6)


def test_the_shape_of_the_scores_does_not_matter():
    scores = np.random.default_rng().normal(size=12).astype(np.float32)
    np.testing.assert_array_equal(triplet_losses(scores, 4), triplet_losses(scores[:, None], 4))


def test_a_negative_that_is_far_enough_has_no_gradient():
    slope = jax.grad(lambda x: triplet_losses(x, 2, 0.1).sum())(np.array([HIGH, LOW, LOW, HIGH]))
    assert slope[0] == slope[1] == 0 and slope[2] < 0 < slope[3]


@pytest.mark.parametrize("group", [0, 1, 5])
def test_groups_that_do_not_fit(group):
    with pytest.raises(ValueError, match=f"6 scores cannot be split into groups of {group}"):
        triplet_losses(np.zeros(6), group)

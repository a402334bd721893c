"""Alignment: matched pairs count by their distance, swapped ones against theirs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.objectives.fakes import FakeViews
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.optimal_transport import alignment_loss
from vlp_jax.objectives.alignment import AlignmentObjective


def test_the_loss_by_hand():
    distance, matched = np.array([0.5, 0.25, 1.0]), np.array([True, True, False])
    assert alignment_loss(distance, matched) == pytest.approx(-0.25 / 3)
    assert alignment_loss(distance, ~matched) == pytest.approx(0.25 / 3)


def test_the_gradient_draws_together_and_pushes_apart():
    slope = jax.grad(alignment_loss)(jnp.ones(4), np.array([True, False, True, False]))
    np.testing.assert_allclose(slope, [0.25, -0.25, 0.25, -0.25])


class OneToken(FakeViews):
    """Every text and every image is one unit vector: an angle by its id."""

    def fused_pairs(self, texts, images, once=""):
        real = jnp.ones((self.size, 1), bool)
        token = lambda index: Tokens(jnp.eye(self.size)[index][:, None], real)
        return Fused(token(texts), token(images))


def test_own_pairs_are_near_and_swapped_ones_far():
    views = OneToken({"image_id": np.arange(16)})
    result = AlignmentObjective(iterations=3)(views, None, None, jnp.ones(()))
    assert result.metrics["matched_distance"] == pytest.approx(0, abs=1e-6)
    assert result.metrics["swapped_distance"] == pytest.approx(1, rel=1e-6)
    assert -1 < result.loss < 0

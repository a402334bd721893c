"""Alignment: matched pairs count by their distance, swapped ones against theirs."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.tasks.alignment import AlignmentTask


class OneToken(FakeViews):
    """Every text and every image is one unit vector: an angle by its id."""

    def fused_pairs(self, images, texts, fields=(), once=""):
        real = jnp.ones((self.size, 1), bool)
        token = lambda index: Tokens(jnp.eye(self.size)[index][:, None], real)
        return Fused(image=token(images), text=token(texts))


def test_own_pairs_are_near_and_swapped_ones_far():
    views = OneToken({"image_id": np.arange(16)})
    result = loss_of(AlignmentTask(iterations=3), views)
    assert result.metrics["matched_distance"] == pytest.approx(0, abs=1e-6)
    assert result.metrics["swapped_distance"] == pytest.approx(1, rel=1e-6)
    assert -1 < result.loss < 0

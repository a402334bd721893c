"""The detection head finds boxes inside the picture, and refuses what it cannot read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.detectors.surviving_class import SurvivorRule
from vlp_jax.heads.detection import DetectionHead, side_of
from vlp_jax.layers.tokens import Tokens

SIZES = dict(classes=3, anchor_sizes=(0.3, 0.6), hidden=4, kept=6, bins=2, width=5)


def tokens(count: int, batch: int = 2) -> Tokens:
    states = jax.random.normal(jax.random.key(2), (batch, count, 4))
    return Tokens(states, jnp.ones((batch, count), bool))


@pytest.fixture(scope="module")
def made():
    head = DetectionHead(**SIZES)
    params = jax.jit(head.init)(jax.random.key(0), tokens(16))
    return head, jax.tree.map(lambda x: 20 * x, params)


def test_objects_lie_in_the_picture_surest_first(made):
    head, params = made
    found = jax.jit(lambda p, t: head.apply(p, t, SurvivorRule(least=2, score=0.9)))(
        params, tokens(16)
    )
    assert found.boxes.shape == (2, 6, 4) and found.features.shape == (2, 6, 5)
    assert found.mask[:, 0].all() and (np.asarray(found.boxes) >= 0).all()
    assert (np.asarray(found.boxes) <= 1).all()
    for scores, labels, shares, mask in zip(
        found.scores, found.labels, found.class_scores, found.mask
    ):
        kept = np.flatnonzero(mask)
        assert (np.diff(scores[kept]) <= 0).all()
        np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-5)
        np.testing.assert_allclose(shares[kept, 1 + labels[kept]], scores[kept], rtol=1e-5)


def test_anchors_stand_around_the_middles_of_cells(made):
    head, params = made
    proposed = jax.jit(lambda p: head.apply(p, tokens(16), method=head.propose))(params)
    middles = (proposed.anchors[0, :, :2] + proposed.anchors[0, :, 2:]) / 2
    wanted = np.stack(np.meshgrid(*[np.arange(4) + 0.5] * 2), -1).reshape(-1, 1, 2)
    np.testing.assert_allclose(middles.reshape(16, -1, 2), np.tile(wanted, (1, 6, 1)), atol=1e-5)
    sizes = proposed.anchors[0, :6, 2:] - proposed.anchors[0, :6, :2]
    areas = [(4 * 0.3) ** 2] * 3 + [(4 * 0.6) ** 2] * 3  # in cells
    np.testing.assert_allclose(sizes.prod(-1), areas, rtol=1e-5)


def test_no_gradient_comes_through_the_proposals_boxes(made):
    head, params = made

    def total(params):
        return head.apply(params, tokens(16), method=head.propose).proposals.boxes.sum()

    assert not any(x.any() for x in jax.tree.leaves(jax.jit(jax.grad(total))(params)))


def test_tokens_that_form_no_square():
    with pytest.raises(ValueError, match="form a square, and the vision encoder gives 17"):
        side_of(tokens(17))


def test_classes_have_to_be_known():
    with pytest.raises(ValueError, match="detection.classes is 0"):
        DetectionHead().init(jax.random.key(0), tokens(16))

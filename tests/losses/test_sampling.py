"""Tests of negatives: drawn in proportion, never of the same image, never failing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.losses.sampling import negative_weights, sample_negatives

sample = jax.jit(sample_negatives)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 1.0, 1e4]),
    st.integers(1, 6),
)
def test_the_same_image_is_never_drawn(seed, scale, images):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, images, 6).astype(np.int32)
    logits = (scale * rng.choice([-1.0, 1.0, rng.normal()], (6, 6))).astype(np.float32)
    drawn = np.asarray(sample(jax.random.key(seed % 2**31), logits, ids))
    assert ((0 <= drawn) & (drawn < 6)).all()
    if len(set(ids.tolist())) > 1:
        assert (ids[drawn] != ids).all()
    else:
        assert drawn.tolist() == [1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("own", [1e4, -1e4])
@pytest.mark.parametrize("others", [1e4, -1e4])
def test_peaked_similarities_cannot_fail(own, others):
    logits = np.full((6, 6), others, np.float32)
    np.fill_diagonal(logits, own)
    drawn = np.asarray(sample(jax.random.key(0), logits, np.arange(6)))
    assert (drawn != np.arange(6)).all() and ((0 <= drawn) & (drawn < 6)).all()


def test_negatives_are_drawn_in_proportion():
    logits = np.broadcast_to(np.log(np.array([1.0, 2, 3, 4, 1, 1])), (6, 6)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = np.asarray(
        jax.jit(jax.vmap(lambda k: sample_negatives(k, logits, jnp.arange(6))))(keys)
    )
    shares = np.bincount(drawn[:, 0], minlength=6) / 4000
    np.testing.assert_allclose(shares, np.array([0, 2, 3, 4, 1, 1]) / 11, atol=0.04)


def test_published_weights_are_those_that_draws_are_in_proportion_to():
    logits = np.log(np.array([[1.0, 2, 1], [3, 3, 6], [1, 1, 2]], np.float32))
    weights = negative_weights(logits, np.array([4, 9, 4]))
    np.testing.assert_allclose(weights, [[0, 0.5, 0], [0.25, 0, 0.5], [0, 0.25, 0]], rtol=1e-6)
    assert not negative_weights(np.array([[200.0, 0], [0, 0]]), np.arange(2))[0].any()

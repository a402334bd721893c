"""Tests of matching: labels and loss by hand, and negatives that never show the same image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.objectives.fakes import FakeViews
from vlp_jax.objectives.matching import MatchingObjective, sample_negatives

ONE = jnp.ones(())
MATCH = [[0.0, 1], [2, 0]]
MISMATCH = [[1.0, 0], [0, 3], [0, 0], [1, 1]]
VECTORS = np.eye(2, dtype=np.float32)


def result(match_index):
    views = FakeViews(
        {"image_id": [4, 9]}, VECTORS, VECTORS, match_index=match_index, match=MATCH, mismatch=MISMATCH
    )
    return MatchingObjective()(views, None, None, ONE), views


@pytest.mark.parametrize(
    ("match_index", "loss", "accuracy"),
    [
        # log(1 + exp(·)) of -1, 2; -1, 3, 0, 0.
        (1, (0.313262 + 2.126928 + 0.313262 + 3.048587 + 2 * 0.693147) / 6, 4 / 6),
        # log(1 + exp(·)) of 1, -2; 1, -3, 0, 0.
        (0, (1.313262 + 0.126928 + 1.313262 + 0.048587 + 2 * 0.693147) / 6, 2 / 6),
    ],
)
def test_labels_and_loss(match_index, loss, accuracy):
    found, _ = result(match_index)
    assert found.loss == pytest.approx(loss, abs=1e-6)
    assert found.metrics["itm_accuracy"] == pytest.approx(accuracy)
    assert found.enqueue == {}


def test_each_text_gets_a_wrong_image_and_each_image_a_wrong_text():
    _, views = result(1)
    texts, images = views.pairs
    assert texts.tolist() == [0, 1, 1, 0] and images.tolist() == [1, 0, 0, 1]


def test_hard_negatives_follow_the_similarities_in_both_directions():
    # Rows are images. Apart from its own, image 0 is nearest to text 1, 1 to text 2, 2 to text 0;
    # text 0 is nearest to image 2, text 1 to image 0, text 2 to image 1.
    similarities = 1e3 * np.array([[9, 5, 4], [6, 9, 7], [8, 3, 9]], np.float32)
    views = FakeViews(
        {"image_id": [0, 1, 2]},
        similarities,
        np.eye(3),
        match=np.zeros((3, 2)),
        mismatch=np.zeros((6, 2)),
    )
    MatchingObjective()(views, None, None, ONE)
    texts, images = views.pairs
    assert images[:3].tolist() == [2, 0, 1]
    assert texts[3:].tolist() == [1, 2, 0]


def test_random_negatives_ignore_the_similarities():
    views = FakeViews(
        {"image_id": np.arange(64)}, match=np.zeros((64, 2)), mismatch=np.zeros((128, 2))
    )
    MatchingObjective(negatives="random")(views, None, None, ONE)
    texts, images = views.pairs
    own = np.arange(64)
    assert (images[:64] != own).all() and (texts[64:] != own).all()
    assert len(set(images[:64].tolist())) > 20


def test_heads_it_needs():
    assert MatchingObjective().heads == ("itm", "itc")
    assert MatchingObjective(negatives="random").heads == ("itm",)


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
    drawn = np.asarray(jax.jit(jax.vmap(lambda k: sample_negatives(k, logits, jnp.arange(6))))(keys))
    shares = np.bincount(drawn[:, 0], minlength=6) / 4000
    np.testing.assert_allclose(shares, np.array([0, 2, 3, 4, 1, 1]) / 11, atol=0.04)

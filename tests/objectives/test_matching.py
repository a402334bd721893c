"""Tests of matching: labels and loss by hand, and which pairs are made."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.objectives.fakes import FakeViews
from vlp_jax.objectives.matching import MatchingObjective

ONE = jnp.ones(())
MATCH = [[0.0, 1], [2, 0]]
MISMATCH = [[1.0, 0], [0, 3], [0, 0], [1, 1]]
VECTORS = np.eye(2, dtype=np.float32)


def result(match_index):
    views = FakeViews(
        {"image_id": [4, 9]},
        VECTORS,
        VECTORS,
        match_index=match_index,
        match=MATCH,
        mismatch=MISMATCH,
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

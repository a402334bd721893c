"""Boxes and true boxes are matched as one box after the other is, and draws are balanced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.detectors.oracle import overlap, random_boxes
from vlp_jax.losses.box_matching import Matches, match, sample


def matched(boxes, truths, mask, high, low, every_truth):
    """The rule in words: what each box overlaps most, and what it is by that."""
    shared = np.array([[overlap(b, t) * m for t, m in zip(truths, mask)] for b in boxes])
    truth, best = shared.argmax(1), shared.max(1)
    positive = best >= high
    for column in shared.T if every_truth else ():
        if column.max() > 0:
            positive |= np.isclose(column, column.max(), atol=1e-6)
    return truth, best, positive, (best < low) & ~positive


@pytest.mark.parametrize("every_truth", [True, False])
def test_matches_are_the_oracles(every_truth):
    rng = np.random.default_rng()
    boxes, truths = random_boxes(rng, 60, 40, 40), random_boxes(rng, 5, 40, 40)
    mask = np.array([True, True, False, True, False])
    found = match(boxes, truths, mask, 0.45, 0.2, every_truth)
    truth, best, positive, negative = matched(boxes, truths, mask, 0.45, 0.2, every_truth)
    clear = (np.abs(best - 0.45) > 1e-5) & (np.abs(best - 0.2) > 1e-5)
    np.testing.assert_array_equal(np.asarray(found.positive)[clear], positive[clear])
    np.testing.assert_array_equal(np.asarray(found.negative)[clear], negative[clear])
    np.testing.assert_array_equal(np.asarray(found.truths)[best > 0], truth[best > 0])


def test_a_box_at_the_threshold_is_found_and_between_both_counts_for_nothing():
    truths = np.float32([[0, 0, 10, 10]])
    boxes = np.float32([[0, 0, 10, 5], [0, 0, 10, 3], [0, 0, 10, 2.5], [20, 20, 30, 30]])
    found = match(boxes, truths, np.ones(1, bool), 0.5, 0.3)
    assert found.positive.tolist() == [True, False, False, False]
    assert found.negative.tolist() == [False, False, True, True]


def test_a_picture_without_objects_is_background():
    found = match(np.float32([[0, 0, 3, 3]]), np.zeros((2, 4)), np.zeros(2, bool), 0.5, 0.5, True)
    assert found.negative.all() and not found.positive.any()


@pytest.mark.parametrize(
    "positive, negative, expected", [(40, 40, (4, 12)), (2, 40, (2, 14)), (2, 3, (2, 3))]
)
def test_draws_are_balanced(positive, negative, expected):
    kinds = np.random.default_rng().permutation([1] * positive + [2] * negative + [0] * 5)
    matches = Matches(jnp.zeros(len(kinds), int), jnp.array(kinds == 1), jnp.array(kinds == 2))
    drawn = sample(jax.random.key(0), matches, 16, 0.25)
    assert tuple(int(x.sum()) for x in drawn) == expected
    assert not np.any(drawn[0] & ~matches.positive) and not np.any(drawn[1] & ~matches.negative)


def test_every_box_is_drawn_as_often():
    matches = Matches(jnp.zeros(8, int), jnp.arange(8) < 4, jnp.arange(8) >= 4)
    keys = jax.random.split(jax.random.key(1), 4000)
    positive, negative = jax.vmap(lambda key: sample(key, matches, 4, 0.25))(keys)
    np.testing.assert_allclose(positive.mean(0)[:4], 1 / 4, atol=0.04)
    np.testing.assert_allclose(negative.mean(0)[4:], 3 / 4, atol=0.04)

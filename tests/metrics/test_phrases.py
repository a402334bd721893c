"""Phrase grounding: places of right regions, recalls, and those of regions drawn at random."""

import itertools

import numpy as np
import pytest

from vlp_jax.metrics.phrases import drawn_recall, first_right, recall_at


def test_the_place_of_the_best_right_region():
    scores = [[0.1, 0.9, 0.5], [3, 2, 1], [1, 1, 0], [0, 1, 2]]
    right = [[0, 0, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]]
    places = first_right(scores, right)
    assert places.tolist() == [1, 0, 1, np.inf]  # of equal scores the first is better
    recalls = [recall_at(places, k) for k in (1, 2, 3, 9)]
    assert recalls == [0.25, 0.75, 0.75, 0.75]


def test_no_phrases():
    places = first_right(np.zeros((0, 5)), np.zeros((0, 5)))
    assert np.isnan(recall_at(places, 1)) and np.isnan(drawn_recall(places, places, 1))


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_drawn_regions_are_counted_out(k):
    right, regions = np.array([2, 0, 5, 1]), np.array([5, 4, 5, 7])
    each = [
        np.mean([min(drawn) < r for drawn in itertools.combinations(range(n), min(k, n))])
        for r, n in zip(right, regions)
    ]
    assert drawn_recall(right, regions, k) == pytest.approx(np.mean(each))


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"right has shape \[2, 2\], expected \[2, 3\]"):
        first_right(np.zeros((2, 3)), np.zeros((2, 2)))

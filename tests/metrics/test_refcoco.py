"""Referring expressions: overlap as published, ties at the threshold, boxes chosen by heat."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.metrics.refcoco import (
    box_under_heat,
    referring_accuracy,
    referring_accuracy_by_split,
    referring_iou,
)

BOXES = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 40)] * 2)


def test_overlap_by_hand():
    first = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 0, 5]]
    second = [[0, 0, 10, 5], [5, 5, 10, 10], [20, 20, 5, 5], [0, 0, 0, 5]]
    assert referring_iou(first, second) == pytest.approx([0.5, 25 / 175, 0.0, 0.0])


def test_an_overlap_one_pixel_wide_is_none():
    assert referring_iou([0, 0, 10, 10], [9, 0, 10, 10]) == 0.0
    assert referring_iou([0, 0, 10, 10], [8.5, 0, 10, 10]) == pytest.approx(15 / 185)


@given(BOXES, BOXES, st.integers(-50, 50))
def test_overlap_is_symmetric_bounded_and_unmoved_by_a_shift(first, second, shift):
    first, second = np.array(first), np.array(second)
    overlap = float(referring_iou(first, second))
    assert 0 <= overlap <= 1 and overlap == float(referring_iou(second, first))
    moved = [shift, shift, 0, 0]
    assert referring_iou(first + moved, second + moved) == pytest.approx(overlap)


def test_an_overlap_at_the_threshold_counts_for_albef_and_not_for_uniter():
    predicted, truth = [[0, 0, 10, 5], [0, 0, 10, 10]], [[0, 0, 10, 10]] * 2
    assert referring_accuracy(predicted, truth) == 1.0
    assert referring_accuracy(predicted, truth, inclusive=False) == 0.5
    by_split = referring_accuracy_by_split(predicted, truth, ["val", "testA"], inclusive=False)
    assert by_split == {"val": 0.0, "testA": 1.0}
    assert np.isnan(referring_accuracy(np.zeros((0, 4)), np.zeros((0, 4))))


def test_the_hottest_box_by_area_is_chosen():
    heat = np.zeros((4, 4))
    heat[0, 0] = 1.0
    boxes = [[20, 20, 20, 20], [0, 0, 10, 10], [0, 0, 40, 40]]
    assert box_under_heat(heat, boxes, 40, 40, alpha=1.0) == 1
    assert box_under_heat(heat, boxes, 40, 40, alpha=0.0) == 2
    assert box_under_heat(-heat, boxes, 40, 40, alpha=1.0) != 1
    assert box_under_heat(0 * heat, boxes, 40, 40, alpha=1.0) is None


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: referring_iou([[0, 0, 1]], [[0, 0, 1, 1]]), r"first has shape \[1, 3\]"),
        (lambda: referring_iou([0, 0, -2, 1], [0, 0, 1, 1]), "least width or height -2"),
        (lambda: referring_accuracy(np.ones((2, 4)), np.ones((3, 4))), r"truth has shape \[3, 4\]"),
        (lambda: referring_accuracy_by_split([[0] * 4], [[0] * 4], []), "splits has 0"),
        (lambda: box_under_heat(np.ones(3), np.ones((1, 4)), 9, 9, 1), "heat_map has shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Grounding metrics on boxes whose areas can be counted."""

import numpy as np
import pytest

from vlp_jax.data.boxes import box_iou
from vlp_jax.metrics.grounding import grounding_accuracy, pointing_chance, pointing_game


def test_iou_by_hand():
    first = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 2, 2], [1, 1, 1, 1]])
    second = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [2, 2, 3, 3], [0, 0, 2, 1], [1, 1, 1, 1]])
    assert box_iou(first, second) == pytest.approx([1 / 7, 1.0, 0.0, 0.5, 0.0])


def test_iou_is_symmetric_and_unmoved_by_shift_and_scale():
    rng = np.random.default_rng()
    low, size = rng.random((2, 20, 2)), rng.random((2, 20, 2))
    a, b = np.concatenate([low, low + size], axis=-1)
    assert box_iou(a, b) == pytest.approx(box_iou(b, a))
    assert box_iou(a * 64 + 3, b * 64 + 3) == pytest.approx(box_iou(a, b))
    assert box_iou(a[:, None], b[None]).shape == (20, 20)


def test_the_threshold_itself_counts():
    predicted = [[0, 0, 2, 2], [0, 0, 2, 2]]
    truth = [[0, 0, 2, 1], [0, 0, 2, 0.9]]
    assert grounding_accuracy(predicted, truth) == 0.5


def test_pointing_game_takes_the_centre_of_the_highest_cell():
    maps = np.zeros((2, 2, 4))
    maps[0, 0, 3] = maps[1, 1, 0] = 1.0  # centres (0.875, 0.25) and (0.125, 0.75)
    inside = [[0.8, 0.0, 1.0, 0.5], [0.0, 0.5, 0.25, 1.0]]
    assert pointing_game(maps, inside) == 1.0
    assert pointing_game(maps, inside[::-1]) == 0.0
    assert pointing_chance(inside) == pytest.approx((0.1 + 0.125) / 2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: box_iou([[2, 0, 1, 1]], [[0, 0, 1, 1]]), "x2 < x1"),
        (lambda: box_iou([[0, 0, 1]], [[0, 0, 1, 1]]), r"expected \[\.\.\., 4\]"),
        (lambda: grounding_accuracy(np.ones((2, 4)), np.ones((3, 4))), r"truth has shape \[3, 4\]"),
        (lambda: pointing_game(np.ones((2, 3)), np.ones((2, 4))), "heat_maps has shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

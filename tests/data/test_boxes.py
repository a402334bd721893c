"""Tests of region boxes: the unit square, affine maps and visibility."""

import numpy as np
import pytest

from vlp_jax.data.boxes import move_boxes, unit_boxes, visible_boxes


def test_unit_boxes_literal():
    boxes = unit_boxes(np.array([[10, 5, 20, 25], [0, 0, 40.5, 50]]), 40, 50)
    np.testing.assert_allclose(boxes, [[0.25, 0.1, 0.5, 0.5], [0, 0, 1, 1]])
    assert boxes.dtype == np.float32 and unit_boxes(np.zeros((0, 4)), 4, 4).shape == (0, 4)


@pytest.mark.parametrize(
    "boxes, message",
    [
        ([1, 2, 3, 4], r"expected \[N, 4\]"),
        ([[0, 0, 1, 1, 1]], r"expected \[N, 4\]"),
        ([[0, 0, np.nan, 1]], "not finite"),
        ([[5, 0, 1, 1]], "reversed"),
        ([[0, 0, 10, 12]], "outside the picture of 10 x 10"),
        ([[-2, 0, 10, 10]], "outside"),
        ([[0, 0, 0.5, 1.004]], "reach to 1.004 in .* they are shares of the picture already"),
    ],
)
def test_bad_boxes_are_explained(boxes, message):
    with pytest.raises(ValueError, match=message):
        unit_boxes(np.array(boxes), 10, 10)


def test_move_and_clip():
    boxes = np.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.5, 0.5, 1.0]], np.float32)
    flipped = move_boxes(boxes, np.array([[-1, 0, 1], [0, 1, 0]]))
    np.testing.assert_allclose(flipped, [[0.5, 0, 1, 0.5], [0.5, 0.5, 0.75, 1]])
    shifted = move_boxes(boxes, np.array([[1, 0, -0.45], [0, 1, 0]]))
    clipped, visible = visible_boxes(shifted)
    np.testing.assert_allclose(clipped, [[0, 0, 0.05, 0.5], [0, 0.5, 0.05, 1]], atol=1e-6)
    assert visible.tolist() == [False, False]
    assert visible_boxes(boxes)[1].tolist() == [True, True]
    assert visible_boxes(np.array([[0.2, 0.2, 0.2, 0.4]]))[1].tolist() == [False]

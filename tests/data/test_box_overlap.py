"""Overlap of boxes whose areas can be counted."""

import numpy as np
import pytest

from vlp_jax.data.boxes import box_iou


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


@pytest.mark.parametrize(
    "first, message", [([[2, 0, 1, 1]], "x2 < x1"), ([[0, 0, 1]], r"expected \[\.\.\., 4\]")]
)
def test_bad_boxes_are_named(first, message):
    with pytest.raises(ValueError, match=message):
        box_iou(first, [[0, 0, 1, 1]])

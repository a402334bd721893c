"""Classification metrics on tables small enough to count by hand."""

import numpy as np
import pytest

from vlp_jax.metrics.classification import (
    accuracy,
    confusion,
    consistency,
    macro_accuracy,
    pairwise_accuracy,
)

LOGITS = np.eye(3)[[0, 0, 1, 2, 0]]  # predicted classes
LABELS = np.array([0, 1, 1, 2, 2])


def test_counts_by_hand():
    assert accuracy(LOGITS, LABELS) == pytest.approx(0.6)
    assert confusion(LOGITS, LABELS).tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert macro_accuracy(LOGITS, LABELS) == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_mask_leaves_examples_out_and_their_labels_may_be_anything():
    labels = np.where([1, 1, 0, 1, 0], LABELS, -100)
    assert accuracy(LOGITS, labels, labels != -100) == pytest.approx(2 / 3)
    assert macro_accuracy(LOGITS, LABELS, LABELS != 2) == pytest.approx(0.75)
    assert np.isnan(accuracy(LOGITS, LABELS, LABELS > 5))
    assert np.isnan(macro_accuracy(LOGITS, LABELS, LABELS > 5))


def test_more_axes_are_counted_alike():
    rng = np.random.default_rng()
    logits, labels = rng.random((4, 6, 5)), rng.integers(0, 5, (4, 6))
    mask = rng.random((4, 6)) < 0.7
    mask[0, 0] = True
    flat = accuracy(logits.reshape(24, 5), labels.ravel(), mask.ravel())
    assert accuracy(logits, labels, mask) == flat
    order = rng.permutation(4)
    assert accuracy(logits[order], labels[order], mask[order]) == pytest.approx(flat)


def test_consistency_needs_every_member_of_a_group():
    correct = np.array([1, 1, 1, 0, 1], bool)
    assert consistency(correct, ["a", "a", "b", "b", "c"]) == pytest.approx(2 / 3)


def test_pairs_and_ties():
    assert pairwise_accuracy([1.0, 2.0, 3.0, 0.0], [0.0, 2.0, 4.0, -1.0]) == pytest.approx(0.625)
    assert np.isnan(pairwise_accuracy([], []))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: accuracy(LOGITS, LABELS[:4]), r"labels has shape \[4\], expected \[5\]"),
        (lambda: accuracy(LOGITS[0, 0], LABELS), "expected"),
        (lambda: accuracy(LOGITS, LABELS + 1), r"1\.\.3, expected 0\.\.2"),
        (lambda: accuracy(LOGITS, LABELS, LABELS), "expected bool"),
        (lambda: accuracy(LOGITS * np.nan, LABELS), "NaN"),
        (lambda: consistency([1, 0], ["a", "b"]), "expected bool"),
        (lambda: pairwise_accuracy([1.0], [1.0, 2.0]), "equal lengths"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

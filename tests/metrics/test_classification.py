"""Consistency and pairwise accuracy on tables small enough to count by hand."""

import numpy as np
import pytest

from vlp_jax.metrics.classification import consistency, pairwise_accuracy


def test_consistency_needs_every_member_of_a_group():
    correct = np.array([1, 1, 1, 0, 1], bool)
    assert consistency(correct, ["a", "a", "b", "b", "c"]) == pytest.approx(2 / 3)


def test_pairs_and_ties():
    assert pairwise_accuracy([1.0, 2.0, 3.0, 0.0], [0.0, 2.0, 4.0, -1.0]) == pytest.approx(0.625)
    assert np.isnan(pairwise_accuracy([], []))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: consistency([1, 0], ["a", "b"]), "expected bool"),
        (lambda: pairwise_accuracy([1.0], [1.0, 2.0]), "equal lengths"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

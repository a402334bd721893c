"""VCR accuracies by hand."""

import numpy as np
import pytest

from vlp_jax.metrics.vcr import vcr_accuracies


def scores(answer, *rationales):
    """One question on which `answer` is chosen, and a rationale for each of the four answers."""
    return np.eye(4)[[answer, *rationales]]


def test_rationales_are_asked_with_the_true_answer():
    three = [scores(1, 0, 2, 0, 0), scores(3, 0, 2, 0, 0), scores(1, 2, 0, 2, 2)]
    found = vcr_accuracies(three, [1, 1, 1], [2, 2, 2])
    assert found == pytest.approx({"q_to_a": 2 / 3, "qa_to_r": 2 / 3, "q_to_ar": 1 / 3})


def test_both_right_is_never_more_than_either():
    rng = np.random.default_rng()
    for _ in range(20):
        labels = rng.integers(0, 4, (2, 30))
        found = vcr_accuracies(rng.random((30, 5, 4)), *labels)
        assert found["q_to_ar"] <= min(found["q_to_a"], found["qa_to_r"])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: vcr_accuracies(np.ones((1, 4, 4)), [0], [0]), r"expected \[questions, 5, 4\]"),
        (lambda: vcr_accuracies(np.ones((1, 5, 4)), [4], [0]), r"answer_labels span 4\.\.4"),
        (lambda: vcr_accuracies(np.ones((1, 5, 4)), [0], [0, 1]), "rationale_labels has shape"),
        (lambda: vcr_accuracies(np.ones((0, 5, 4)), [], []), "no question"),
        (lambda: vcr_accuracies(np.full((1, 5, 4), np.nan), [0], [0]), "20 NaN"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""SNLI-VE accuracy by hand."""

import math

import pytest

from vlp_jax.metrics.entailment import (
    ENTAILMENT_LABELS,
    entailment_accuracy,
    entailment_accuracy_by_label,
)

GOLD = ["neutral", "entailment", "-", "contradiction", "neutral"]
PREDICTED = ["neutral", "neutral", "neutral", "contradiction", "entailment"]


def test_undecided_examples_are_left_out():
    assert entailment_accuracy(PREDICTED, GOLD) == 0.5
    by_label = {"contradiction": 1.0, "neutral": 0.5, "entailment": 0.0}
    assert entailment_accuracy_by_label(PREDICTED, GOLD) == by_label
    assert tuple(by_label) == ENTAILMENT_LABELS
    assert math.isnan(entailment_accuracy(["neutral"], ["-"]))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: entailment_accuracy(["neutral"], []), "equal lengths"),
        (lambda: entailment_accuracy(["maybe"], ["neutral"]), 'label "maybe", expected one of'),
        (lambda: entailment_accuracy(["-"], ["neutral"]), 'label "-"'),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

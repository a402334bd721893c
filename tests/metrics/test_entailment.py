"""SNLI-VE accuracy by hand."""

import math

import pytest

from vlp_jax.metrics.entailment import entailment_accuracy

GOLD = ["neutral", "entailment", "-", "contradiction", "neutral"]
PREDICTED = ["neutral", "neutral", "neutral", "contradiction", "entailment"]


def test_undecided_examples_are_left_out():
    assert entailment_accuracy(PREDICTED, GOLD) == 0.5
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

"""Attributes of regions as VinVL's post-processing chooses them."""

import numpy as np
import pytest

from vlp_jax.detectors.attribute_choice import AttributeRule, choose_attributes


def step_by_step(logits, rule):
    """The chosen attributes of each region, likeliest first, as (label, probability) rows."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[:, 0] = 0
    shares[shares <= rule.threshold] = 0
    count = np.count_nonzero(shares)
    if count > rule.per_picture:
        shares[shares < np.sort(shares, axis=None)[count - rule.per_picture]] = 0
    order = np.argsort(-shares, axis=1, kind="stable")[:, : rule.per_region]
    return [[(a, row[a]) for a in best if row[a] > 0] for best, row in zip(order, shares)]


@pytest.mark.parametrize("per_picture", [100, 20])
def test_they_are_what_the_definition_gives(per_picture):
    rule = AttributeRule(0.05, per_picture, 3)
    logits = np.random.default_rng().normal(scale=2, size=(12, 6)).astype(np.float32)
    labels, scores = choose_attributes(logits, np.ones(12, bool), rule)
    for row, expected in enumerate(step_by_step(logits, rule)):
        count = len(expected)
        assert labels[row].tolist() == [a for a, _ in expected] + [-1] * (3 - count)
        np.testing.assert_allclose(scores[row, :count], [p for _, p in expected], rtol=1e-5)
        assert not scores[row, count:].any()


def test_the_limit_of_a_picture_counts_what_was_left_out_as_the_original_does():
    """Two of four attributes may stay, but the zeros of five columns come first in the count."""
    logits = np.log(np.float32([[1e-3, 0.4, 0.3, 1e-3, 1e-3], [1e-3, 0.45, 0.35, 1e-3, 1e-3]]))
    labels, _ = choose_attributes(logits, np.ones(2, bool), AttributeRule(0.05, 2, 4))
    assert labels[:, :2].tolist() == [[1, 2], [1, 2]]


def test_padding_has_none_and_takes_no_part():
    rule = AttributeRule(0.05, 4, 3)
    logits = np.random.default_rng().normal(scale=2, size=(5, 4)).astype(np.float32)
    padded = np.concatenate([logits, np.full((3, 4), 9.0, np.float32)])
    labels, scores = choose_attributes(padded, np.arange(8) < 5, rule)
    alone, shares = choose_attributes(logits, np.ones(5, bool), rule)
    np.testing.assert_array_equal(labels[:5], alone)
    np.testing.assert_allclose(scores[:5], shares, rtol=1e-6)
    assert (labels[5:] == -1).all() and not scores[5:].any()


def test_no_attribute_is_never_chosen_but_takes_its_share():
    labels, scores = choose_attributes(np.log(np.float32([[0.94, 0.06]])), np.ones(1, bool))
    assert labels.tolist() == [[1, -1]]
    np.testing.assert_allclose(scores, [[0.06, 0.0]], rtol=1e-5)

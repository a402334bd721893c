"""Regions are chosen by the published rules, to the order."""

import numpy as np
import pytest

from tests.detectors import oracle
from vlp_jax.detectors.selection import ConfidenceRule, LadderRule, by_confidence, by_ladder


def drawn(classes=4, count=40):
    rng = np.random.default_rng()
    boxes = oracle.random_boxes(rng, count, 60, 60)
    shares = rng.dirichlet(np.ones(classes + 1), count).astype(np.float32)[:, :-1]
    return boxes, shares, rng.random(count) < 0.9


def ladder(boxes, shares, mask, rule):
    """The definition: rows and the threshold's number."""
    best = shares.max(axis=1)
    for step, threshold in enumerate(rule.thresholds):
        stays = np.flatnonzero(oracle.suppress(boxes, best, mask, threshold))
        rows = stays[np.argsort(-best[stays], kind="stable")][: rule.most]
        if len(rows) >= rule.least:
            break
    return rows, step


@pytest.mark.parametrize("least", [3, 25, 41])
def test_a_ladder_is_climbed_until_there_are_enough(least):
    given, rule = drawn(), LadderRule(least, max(least, 8), (0.1003, 0.3003, 0.6003))
    rows, step = ladder(*given, rule)
    found = by_ladder(*given, rule)
    assert found.rows[found.mask].tolist() == rows.tolist() and found.threshold == step
    np.testing.assert_array_equal(found.scores[: len(rows)], given[1].max(axis=1)[rows])


def confident(boxes, shares, mask, rule):
    """The original's steps, with its sort of the reversed ascending order."""
    best = np.zeros(len(boxes))
    for column in shares.T:
        stays = oracle.suppress(boxes, column, mask, rule.overlap, rule.sides.pixel)
        best = np.where(stays, np.maximum(best, column), best)
    best = np.where(mask, best, -1)
    rows = np.flatnonzero(best >= rule.score)
    count = min(max(len(rows), rule.least), rule.most)
    if count != len(rows):
        rows = np.argsort(best, kind="stable")[::-1][:count]
    return rows[mask[rows]]


@pytest.mark.parametrize("least, most, score", [(2, 39, 0.5), (30, 40, 0.9), (2, 5, 0.1)])
def test_the_original_sorts_only_where_it_forces_a_number(least, most, score):
    given, rule = drawn(), ConfidenceRule(least, most, score, 0.3003)
    rows = confident(*given, rule)
    found = by_confidence(*given, rule)
    assert found.rows[found.mask].tolist() == rows.tolist()


def test_among_equal_scores_the_later_one_comes_first():
    boxes = np.float32([[20 * i, 0, 20 * i + 9, 9] for i in range(4)])
    shares = np.float32([[0.1], [0.3], [0.1], [0.3]])
    found = by_confidence(boxes, shares, np.ones(4, bool), ConfidenceRule(4, 4, 0.2))
    assert found.rows.tolist() == [3, 1, 2, 0]


def test_without_a_proposal_nothing_is_chosen():
    boxes, shares, mask = drawn()
    for select, rule in ((by_ladder, LadderRule()), (by_confidence, ConfidenceRule())):
        assert not select(boxes, shares, np.zeros_like(mask), rule).mask.any()

"""VinVL's choice of regions against one class and one proposal after the other."""

import numpy as np
import pytest

from tests.detectors import oracle
from vlp_jax.detectors.surviving_class import SurvivorRule, best_survivors


def step_by_step(boxes, shares, mask, rule):
    """Rows, labels and scores of the chosen regions."""
    best, labels = np.zeros(len(shares)), np.zeros(len(shares), int)
    for label in range(1, shares.shape[1]):
        own = boxes[:, label] if boxes.shape[1] > 1 else boxes[:, 0]
        stays = oracle.suppress(own, shares[:, label], mask, rule.overlap)
        better = stays & (shares[:, label] > best)
        best[better], labels[better] = shares[better, label], label
    order = np.argsort(-best, kind="stable")
    count = min(max((best >= rule.score).sum(), rule.least), rule.most, (best > 0).sum())
    return order[:count], labels[order[:count]], best[order[:count]]


@pytest.mark.parametrize("classes_have_boxes", [True, False])
@pytest.mark.parametrize(
    "rule", [SurvivorRule(), SurvivorRule(least=25), SurvivorRule(least=1, most=5, score=0.01)]
)
def test_they_are_what_the_definition_gives(classes_have_boxes, rule):
    rng = np.random.default_rng()
    boxes = oracle.random_boxes(rng, 30 * 7, 40, 60).reshape(30, 7, 4)
    boxes = boxes if classes_have_boxes else boxes[:, :1]
    shares = rng.dirichlet(np.full(7, 0.5), 30).astype(np.float32)
    mask = rng.random(30) < 0.9
    rows, labels, scores = step_by_step(boxes, shares, mask, rule)
    found = best_survivors(boxes, shares, mask, rule)
    assert found.mask.tolist() == [i < len(rows) for i in range(min(rule.most, 30))]
    assert found.rows[: len(rows)].tolist() == rows.tolist()
    assert found.labels[: len(rows)].tolist() == labels.tolist()
    np.testing.assert_array_equal(found.scores[: len(rows)], scores.astype(np.float32))


def test_a_score_at_the_threshold_stays():
    boxes = np.float32([[[0, 0, 9, 9]], [[20, 20, 29, 29]], [[40, 40, 49, 49]]])
    shares = np.float32([[0.5, 0.5], [0.8, 0.2], [0.81, 0.19]])
    rule = SurvivorRule(least=1, score=0.2)
    assert best_survivors(boxes, shares, np.ones(3, bool), rule).mask.tolist() == [
        True,
        True,
        False,
    ]


def test_a_proposal_whose_classes_are_all_taken_is_dropped():
    boxes = np.float32([[[0, 0, 9, 9]], [[0, 0, 9, 8]]])
    shares = np.float32([[0.1, 0.6, 0.3], [0.5, 0.3, 0.2]])
    found = best_survivors(boxes, shares, np.ones(2, bool))
    assert found.mask.tolist() == [True, False] and found.labels[0] == 1

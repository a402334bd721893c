"""Proposals are the best anchors, moved, cut, thinned out and padded."""

import jax
import numpy as np
import pytest

from tests.detectors import oracle
from vlp_jax.detectors.boxes import INCLUSIVE, PLAIN
from vlp_jax.detectors.proposals import ProposalRule, propose

SIZE = np.float32([90, 120])


def drawn(rng, count=40):
    anchors = oracle.random_boxes(rng, count, 90, 120)
    deltas = rng.normal(size=(count, 4)).astype(np.float32) * 0.1
    return rng.permutation(count).astype(np.float32), deltas, anchors


def step_by_step(logits, deltas, anchors, mask, rule):
    """The definition, in NumPy, from the boxes that coder and clipping give."""
    from vlp_jax.detectors.boxes import clip, decode

    boxes = np.asarray(clip(decode(anchors, deltas, sides=rule.sides), SIZE, rule.sides))
    order = np.flatnonzero(mask)[np.argsort(-logits[mask], kind="stable")][: rule.ranked]
    side = (boxes[order, 2:] - boxes[order, :2] + rule.sides.pixel).min(axis=1)
    order = order[side >= rule.least_side if rule.sides.pixel else side > rule.least_side]
    stays = oracle.suppress(boxes[order], logits[order], np.ones(len(order), bool), rule.threshold)
    order = order[stays][: rule.kept]
    return boxes[order], logits[order]


@pytest.mark.parametrize("sides", [PLAIN, INCLUSIVE])
@pytest.mark.parametrize("kept", [5, 60])
def test_they_are_what_the_definition_gives(kept, sides):
    rng = np.random.default_rng()
    given, mask = drawn(rng), rng.random(40) < 0.9
    rule = ProposalRule(ranked=25, kept=kept, threshold=0.4003, least_side=3.0, sides=sides)
    boxes, scores = step_by_step(*given, mask, rule)
    found = jax.jit(lambda *a: propose(*a, rule=rule))(*given, mask, SIZE)
    assert found.boxes.shape == (kept, 4)
    assert found.mask.tolist() == [i < len(boxes) for i in range(kept)]
    np.testing.assert_allclose(found.boxes[: len(boxes)], boxes, atol=1e-4)
    np.testing.assert_array_equal(found.scores[: len(boxes)], scores)
    assert not found.boxes[len(boxes) :].any() and not found.scores[len(boxes) :].any()


def test_saturated_sigmoids_tie_and_the_first_anchor_wins():
    logits, nothing = np.float32([18.5, 22.6]), np.zeros((2, 4), np.float32)
    anchors = np.float32([[0, 0, 50, 50], [0, 0, 50, 51]])
    mask = np.ones(2, bool)
    first = lambda score: propose(
        logits, nothing, anchors, mask, SIZE, rule=ProposalRule(kept=1, score=score)
    ).boxes[0, 3]
    assert first("sigmoid") == 50 and first("logit") == 51


def test_without_an_anchor_there_is_only_padding():
    found = propose(*drawn(np.random.default_rng()), np.zeros(40, bool), SIZE)
    assert found.mask.shape == (300,) and not found.mask.any() and not found.boxes.any()

"""Detection: what regions are drawn and stand for, its losses, and what is measured."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.detectors.oracle import overlap, random_boxes
from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.config import DataConfig, EvaluationConfig, ExperimentConfig
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.detectors.boxes import decode
from vlp_jax.detectors.c4 import HEAD_WEIGHTS
from vlp_jax.detectors.proposals import Proposals
from vlp_jax.heads.detection import Looked, Objects, Proposed
from vlp_jax.layers.tokens import Tokens
from vlp_jax.tasks import Run
from vlp_jax.tasks.detection import (
    DetectionEvaluation,
    DetectionTask,
    ObjectLabels,
    Truth,
    draw_regions,
)

MASK = np.array([True, True, False])


def some(rng):
    """Proposals of one picture, the last ones padding, and its objects."""
    truth = Truth(random_boxes(rng, 3, 8, 8), rng.integers(0, 5, 3), MASK)
    truth.boxes[:2] = [[1, 1, 4, 5], [4, 4, 8, 8]]
    boxes = np.concatenate([truth.boxes[:1] + 0.1, random_boxes(rng, 9, 8, 8)])
    return Proposals(boxes, np.ones(10), np.arange(10) < 8), truth


def test_regions_are_proposals_and_objects_with_what_they_stand_for():
    proposals, truth = some(np.random.default_rng())
    draw = jax.jit(draw_regions, static_argnums=(3, 4))
    drawn = jax.tree.map(np.asarray, draw(jax.random.key(0), proposals, truth, 12, 0.5))
    known = np.concatenate([proposals.boxes[:8], truth.boxes[:2]])
    assert drawn.boxes.shape == (12, 4) and 3 <= drawn.positive.sum() <= 6
    for box, label, target, positive, counts in zip(*drawn):
        if not counts:
            continue
        assert np.isclose(known, box).all(1).any()
        shared = [overlap(box, other) for other in truth.boxes[:2]]
        if abs(max(shared) - 0.5) > 1e-5:
            assert positive == (max(shared) > 0.5)
        assert label == (1 + truth.labels[np.argmax(shared)] if positive else 0)
        if positive:
            back = decode(box, target, HEAD_WEIGHTS)
            np.testing.assert_allclose(back, truth.boxes[np.argmax(shared)], atol=1e-4)


class Written(FakeViews):
    """Both stages' outputs are written down; those of regions may depend on their boxes."""

    def __init__(self, batch, proposed, look):
        super().__init__(batch)
        self.proposed, self.look = proposed, look

    def image(self):
        return Tokens(jnp.zeros((1, 16, 2)), jnp.ones((1, 16), bool))

    def run(self, function, *inputs, name):
        return self.proposed if name == "proposals" else self.look(inputs[1])


@jax.jit
def losses(logits, region_logits):
    """Of one picture of 4 × 4 cells with an object that one of two anchors is exactly."""
    boxes = jnp.array([[[0.0, 0, 2, 2], [2, 2, 4, 4]]])
    batch = dict(
        region_boxes=boxes[:, :1] / 4,
        region_mask=np.ones((1, 1), bool),
        object_labels=np.array([[1]]),
    )
    nothing = jnp.zeros((1, 2, 4))
    proposals = Proposals(boxes, jnp.ones((1, 2)), jnp.ones((1, 2), bool))
    proposed = Proposed(logits[None], nothing, boxes, proposals)

    def look(boxes):
        first = (boxes[..., 0] == 0)[..., None]
        shown = jnp.where(first, *region_logits)
        return Looked(shown, shown, jnp.zeros(boxes.shape))

    task = DetectionTask(anchors=4, regions=4, share=0.5)
    return loss_of(task, Written(batch, proposed, look)).metrics


def test_what_is_right_costs_nothing_and_what_is_wrong_does():
    right = losses(np.float32([40, -40]), np.float32([[0, 0, 40], [40, 0, 0]]))
    assert all(value < 1e-6 for value in right.values()) and len(right) == 4
    wrong = losses(np.float32([-40, -40]), np.float32([[0, 40, 0], [40, 0, 0]]))
    assert wrong["objectness_loss"] == pytest.approx(20)
    # Two of the three regions, an anchor and the object itself, are the object.
    assert wrong["class_loss"] == pytest.approx(80 / 3)


def test_labels_follow_the_boxes_that_are_kept():
    example = Example({"region_labels": [7, 8, 9]}, None)
    example.update(regions=SimpleNamespace(kept=np.array([0, 2])), region_mask=np.zeros(4))
    assert ObjectLabels()(example, None)["object_labels"].tolist() == [7, 9, 0, 0]
    example["region_mask"] = np.zeros(2)
    with pytest.raises(ValueError, match="3 objects, and config.data.regions = 2"):
        ObjectLabels()(example, None)


@pytest.mark.parametrize("shift, expected", [(0.0, 1.0), (0.5, 0.0)])
def test_the_evaluation(shift, expected):
    def forward(function, batch):
        boxes, mask = batch["region_boxes"] + shift, batch["region_mask"]
        return Objects(boxes, batch["object_labels"], mask + 0.0, None, None, mask)

    data = DataConfig(
        source="emoji_scenes",
        source_args={"emoji_scenes": dict(concepts=12, size=8)},
        regions=4,
    )
    config = ExperimentConfig(data=data, evaluation=EvaluationConfig(batch_size=3))
    run = Run(config, Vocabulary(Tokenizer.fit(["a"])), forward, DetectionTask())
    outcome = DetectionEvaluation()(run, "found")
    assert outcome.figures.keys() == DetectionEvaluation().figures("found")
    assert all(value == pytest.approx(expected) for value in outcome.figures.values())
    assert [row.note for row in outcome.rows] == ["8 pictures"] * 3

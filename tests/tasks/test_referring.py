"""Referring expressions: overlaps, both losses, and the share of expressions that are found."""

import json

import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.config import DataConfig, EvaluationConfig, ExperimentConfig
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.tasks import Run, build_tasks
from vlp_jax.tasks.referring import ReferringEvaluation, ReferringTask, RegionOverlaps, pixel_boxes

LOGITS = np.array([[0.0, 1, 2], [1, 0, 0]], np.float32)
OVERLAPS = np.array([[0.2, 0.9, 0.6], [0.1, 0.4, 0]], np.float32)


def test_cross_entropy_leaves_out_what_no_region_shows():
    result = loss_of(ReferringTask(), FakeViews({"region_overlaps": OVERLAPS}, re=LOGITS))
    assert result.loss == pytest.approx(np.log(np.exp(LOGITS[0]).sum()) - 1, rel=1e-6)
    assert result.metrics["referring_accuracy"] == 0.5


def test_binary_cross_entropy_sums_over_regions():
    targets = np.where(OVERLAPS >= 0.5, OVERLAPS, 0)
    each = np.log1p(np.exp(LOGITS)) - targets * LOGITS
    task = ReferringTask(form="bce", head="grounding")
    result = loss_of(task, FakeViews({"region_overlaps": OVERLAPS}, grounding=LOGITS))
    assert result.loss == pytest.approx(each.sum(1).mean(), rel=1e-6)


def test_overlaps_are_those_of_pixels():
    example = Example({"target_box": [0, 0, 0.5, 1], "picture_size": [20, 10]}, None)
    boxes = np.array([[0, 0, 0.5, 1], [0, 0, 1, 1], [0.45, 0, 1, 1], [0, 0, 0.5, 1]])
    example |= {"region_boxes": boxes, "region_mask": np.array([1, 1, 1, 0], bool)}
    made = RegionOverlaps()(example, None)["region_overlaps"]
    assert made.tolist() == [1, 0.5, 0, 0]  # one pixel in common is none; the last is padding


def test_sizes_of_a_file_count():
    box = np.array([0.1, 0.2, 0.5, 0.6, 0.3, 0.3, 0.09])
    np.testing.assert_allclose(pixel_boxes(box, np.array([10, 20])), [1, 4, 3, 6])


@pytest.mark.parametrize(("sign", "accuracy"), [(1, 1.0), (-1, 0.25)])
def test_the_evaluation(sign, accuracy):
    data = DataConfig(
        source="emoji_tasks",
        source_args={"emoji_tasks": dict(form="expressions", concepts=12, canvas=64, size=8)},
        image_size=64,
        regions=4,
    )
    config = ExperimentConfig(data=data, evaluation=EvaluationConfig(batch_size=3))
    # A region is told by its overlap, the wrong way round where there is another.
    forward = lambda function, batch: sign * batch["region_overlaps"]
    run = Run(config, Vocabulary(Tokenizer.fit(["the dog"])), forward, ReferringTask())
    outcome = ReferringEvaluation()(run, "refcoco")
    # Scenes of one object have no other region.
    assert outcome.figures["refcoco_accuracy"] == accuracy
    assert 0.25 < outcome.figures["refcoco_chance"] < 0.75
    rows = json.loads(outcome.submissions["refcoco_predictions.json"])["predictions"]
    assert rows[0]["sent_id"] == "test-0-0-0" and len(rows[0]["pred_box"]) == 4 and len(rows) == 8


def test_boxes_that_would_not_move_with_the_picture():
    config = ExperimentConfig(data=DataConfig(augment="crop"), tasks={"referring": {}})
    with pytest.raises(ValueError, match='config.tasks.referring: the right box .* "crop"'):
        build_tasks(config)

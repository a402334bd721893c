"""Pointing: candidates behind the regions, the loss, and the share of texts whose box is chosen."""

import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.config import DataConfig, EvaluationConfig, ExperimentConfig
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.tasks import Run, build_tasks
from vlp_jax.tasks.pointing import CandidateRegions, PointingEvaluation, PointingTask, behind

# Two regions and three candidates, of which the second text may not choose the last.
LOGITS = np.array([[9.0, 9, 0, 1, 2], [9, 9, 1, 0, 5]], np.float32)
MASK = np.array([[1, 1, 1], [1, 1, 0]], bool)
OVERLAPS = np.array([[0.6, 1, 0.4], [0, 1, 0]], np.float32)
BATCH = {"candidate_mask": MASK, "candidate_overlaps": OVERLAPS}


def softplus(x):
    return np.log1p(np.exp(x))


def test_the_loss_is_that_of_the_candidates():
    result = loss_of(PointingTask(slots=3), FakeViews(BATCH, grounding=LOGITS))
    first = [softplus(0), softplus(1) - 1, softplus(2)]  # overlaps below a half are none
    second = [softplus(1), softplus(0)]
    assert result.loss == pytest.approx((sum(first) + sum(second)) / 2, rel=1e-6)
    assert result.metrics["pointing_accuracy"] == 0


def test_the_loss_is_the_published_one_over_gathered_choices():
    """Scores of the picked rows, filled up with an empty one, and mean times their number."""
    rng = np.random.default_rng()
    scores, choices = rng.normal(size=9), np.array([1, 4, 6])
    picked = np.append(scores[choices], [-10_000.0] * 6)
    targets = np.array([0, 1, 0.7] + [0] * 6)
    each = np.maximum(picked, 0) - picked * targets + np.log1p(np.exp(-np.abs(picked)))
    mask, overlaps = np.zeros((1, 9), bool), np.zeros((1, 9), np.float32)
    mask[0, choices], overlaps[0, choices] = True, targets[:3]
    views = FakeViews(
        {"candidate_mask": mask, "candidate_overlaps": overlaps},
        grounding=np.append(np.zeros(4), scores)[None].astype(np.float32),
    )
    loss = loss_of(PointingTask(slots=9), views).loss
    assert loss == pytest.approx(each.mean() * 9, rel=1e-5)


def record(rows=(0, 2), right=2, **candidates):
    boxes = np.array([[0, 0, 10, 10], [2, 0, 20, 20], [0, 5, 10, 10]], np.float32)
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    given = {"boxes": boxes, "region_features": features, "width": 20, "height": 20} | candidates
    return {"candidates": given, "candidate_rows": list(rows), "right_row": right}


def made(slots=4, **given):
    example = Example(record(**given), None)
    example |= {
        "region_features": np.ones((2, 2), np.float32),
        "region_boxes": np.full((2, 4), 0.5, np.float32),
        "region_mask": np.array([True, False]),
        "region_labels": np.array([3, 4], np.int32),
        "regions": None,
    }
    return CandidateRegions(slots)(example, None)


def test_candidates_stand_behind_all_rows_of_regions():
    found = made()
    assert found["region_mask"].tolist() == [True, False, True, True, True, False]
    assert found["region_features"].tolist()[1:] == [[1, 1], [0, 1], [2, 3], [4, 5], [0, 0]]
    np.testing.assert_allclose(found["region_boxes"][3], [0.1, 0, 1, 1])
    assert found["region_labels"].tolist() == [3, 4, 0, 0, 0, 0]
    assert found["candidate_mask"].tolist() == [True, False, True, False]
    # 10 × 5 pixels of 10 × 10; what may not be chosen has no overlap.
    np.testing.assert_allclose(found["candidate_overlaps"], [0.5, 0, 1, 0])


def test_a_right_box_beyond_the_slots():
    with pytest.raises(ValueError, match="the right box is number 2 of the picture, and 2 are"):
        made(slots=2)
    assert made(slots=2, right=0)["candidate_mask"].tolist() == [True, False]


def test_fields_that_the_others_lack_are_zero():
    given = {"region_boxes": np.ones((1, 4)), "region_mask": np.ones(1, bool)}
    found = behind(
        given | {"region_hidden": np.ones(1, bool)}, {"region_boxes": np.ones((1, 4))}, 2
    )
    assert found["region_hidden"].tolist() == [True, False, False]
    assert found["region_mask"].tolist() == [True, True, False]


@pytest.mark.parametrize(("sign", "accuracy"), [(1, 1.0), (-1, 0.25)])
def test_the_evaluation(sign, accuracy):
    data = DataConfig(
        source="emoji_tasks",
        source_args={"emoji_tasks": dict(form="candidates", concepts=12, canvas=64, size=8)},
        image_size=64,
        regions=4,
        region_pixels=2,
    )
    config = ExperimentConfig(data=data, evaluation=EvaluationConfig(batch_size=3))

    def forward(function, batch):
        """A candidate is told by its overlap, the wrong way round where there is another."""
        overlaps = batch["candidate_overlaps"]
        return np.where(batch["candidate_mask"], sign * overlaps, -10)

    run = Run(config, Vocabulary(Tokenizer.fit(["the dog"])), forward, PointingTask(slots=6))
    figures = PointingEvaluation()(run, "pointed").figures
    assert figures["pointed_accuracy"] == accuracy  # scenes of one object have no other
    assert 0.25 < figures["pointed_chance"] < 0.75 and 0 <= figures["pointed_blind"] <= 1
    assert figures["pointed_blind_name"] == "commonest place"


def test_boxes_that_would_not_move_with_the_picture():
    config = ExperimentConfig(data=DataConfig(augment="crop"), tasks={"pointing": {}})
    with pytest.raises(ValueError, match='config.tasks.pointing: the right box .* "crop"'):
        build_tasks(config)

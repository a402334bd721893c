"""Average precision by hand, and as COCO's own program counts it."""

import contextlib
import io

import numpy as np
import pytest

from vlp_jax.metrics.average_precision import THRESHOLDS, Boxes, average_precision

SQUARE = [0, 0, 10, 10]


def found(*boxes, scores, labels=None):
    labels = np.zeros(len(boxes), int) if labels is None else np.array(labels)
    return Boxes(np.array(boxes, float).reshape(-1, 4), labels, np.array(scores, float))


def true(*boxes, labels=None):
    labels = np.zeros(len(boxes), int) if labels is None else np.array(labels)
    return Boxes(np.array(boxes, float).reshape(-1, 4), labels)


def at_half(*pairs):
    return average_precision(*zip(*pairs), np.array([0.5]))[0]


def test_all_found_and_nothing_found():
    assert at_half((found(SQUARE, scores=[0.1]), true(SQUARE))) == pytest.approx(1)
    assert at_half((found(scores=[]), true(SQUARE))) == 0


def test_a_wrong_box_counts_only_before_the_right_one():
    far = [30, 30, 40, 40]
    assert at_half((found(far, SQUARE, scores=[0.2, 0.8]), true(SQUARE))) == pytest.approx(1)
    assert at_half((found(far, SQUARE, scores=[0.8, 0.2]), true(SQUARE))) == pytest.approx(0.5)


def test_the_second_box_of_an_object_is_wrong():
    pictures = [(found(SQUARE, SQUARE, scores=[0.9, 0.8]), true(SQUARE))]
    pictures += [(found(SQUARE, scores=[0.7]), true(SQUARE))]
    # Precision is 1 up to a recall of a half, 51 of 101 points, and then 2/3.
    assert at_half(*pictures) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_it_is_a_mean_over_the_classes_that_there_are():
    mine = found(SQUARE, SQUARE, SQUARE, scores=[0.9, 0.9, 0.9], labels=[3, 5, 8])
    theirs = true(SQUARE, [30, 30, 40, 40], labels=[3, 5])
    assert at_half((mine, theirs)) == pytest.approx(0.5)


def test_each_threshold_asks_for_more():
    shifted = [0, 0, 10, 7]  # overlaps by 0.7
    values = average_precision([found(shifted, scores=[1])], [true(SQUARE)])
    np.testing.assert_allclose(values, [1] * 5 + [0] * 5, atol=1e-12)


def test_pictures_without_any_object():
    with pytest.raises(ValueError, match="no true objects"):
        average_precision([found(SQUARE, scores=[1])], [true()])


def random_pictures(rng: np.random.Generator, count: int) -> tuple[list[Boxes], list[Boxes]]:
    """Pictures of which most objects are found, some twice; scores are often equal."""
    mine, theirs = [], []
    for _ in range(count):
        objects = int(rng.integers(0, 6))
        corners = rng.integers(0, 60, (objects, 2))
        boxes = np.concatenate([corners, corners + rng.integers(4, 30, (objects, 2))], 1)
        labels = rng.integers(0, 4, objects)
        theirs.append(true(*boxes, labels=labels))
        twice = np.concatenate([np.arange(objects), rng.integers(0, max(objects, 1), objects)])
        moved = boxes[twice] + rng.integers(-2, 3, (2 * objects, 4)) if objects else boxes
        names = np.where(rng.random(len(twice)) < 0.8, labels[twice], 1) if objects else labels
        mine.append(found(*moved, scores=rng.integers(1, 8, len(names)) / 8, labels=names))
    return mine, theirs


def cocos(mine: list[Boxes], theirs: list[Boxes]) -> np.ndarray:
    """The mean precision at each threshold by pycocotools."""
    coco, evaluation = pytest.importorskip("pycocotools.coco"), "pycocotools.cocoeval"
    evaluation = pytest.importorskip(evaluation)
    entries = lambda pictures: [
        dict(image_id=i, category_id=int(label), bbox=[*box[:2], *(box[2:] - box[:2])])
        for i, picture in enumerate(pictures)
        for box, label in zip(picture.boxes, picture.labels)
    ]
    truth = coco.COCO()
    sized = [e | dict(id=i + 1, area=e["bbox"][2] * e["bbox"][3], iscrowd=0)
             for i, e in enumerate(entries(theirs))]  # fmt: skip
    truth.dataset = dict(
        images=[dict(id=i) for i in range(len(theirs))],
        categories=[dict(id=i) for i in range(4)],
        annotations=sized,
    )
    scores = np.concatenate([picture.scores for picture in mine])
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results = [e | dict(score=s) for e, s in zip(entries(mine), scores)]
        run = evaluation.COCOeval(truth, truth.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, -1]
    return np.array([of[of > -1].mean() for of in precision])


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(8))
def test_it_is_exactly_cocos(seed):
    mine, theirs = random_pictures(np.random.default_rng(seed), 30)
    values = average_precision(mine, theirs)
    np.testing.assert_allclose(values, cocos(mine, theirs), rtol=0, atol=1e-12)
    assert len(values) == len(THRESHOLDS) and 0 < values.mean() < 1

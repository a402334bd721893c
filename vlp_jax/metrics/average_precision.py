"""Average precision of detected objects as COCO counts it: areas under precision by recall."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vlp_jax.data.boxes import box_iou
from vlp_jax.metrics.checks import same_length

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""The overlaps from which on a box is found."""

MOST = 100
"""How many objects of a class count in a picture, the surest."""

_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Boxes:
    """Objects of one picture: boxes [N, 4] x1, y1, x2, y2, classes [N], and scores if found."""

    boxes: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, "n"]
    scores: Float[np.ndarray, "n"] | None = None


def average_precision(
    found: Sequence[Boxes], true: Sequence[Boxes], thresholds: np.ndarray = THRESHOLDS
) -> Float[np.ndarray, "t"]:
    """Returns the average precision at each threshold, a mean over the classes that there are.

    found, true: what stands in each picture. The surest are matched first, each with the free true
    box that it overlaps most; precision is read at 101 recalls. ValueError without a true object.
    Source: COCO's `cocoeval.py`, all sizes, without crowds.
    """
    same_length(found=found, true=true)
    classes = sorted({int(label) for picture in true for label in picture.labels})
    if not classes:
        raise ValueError("there are no true objects, expected at least one")
    return np.mean([_of_class(found, true, label, thresholds) for label in classes], axis=0)


def _of_class(
    found: Sequence[Boxes], true: Sequence[Boxes], label: int, thresholds: np.ndarray
) -> Float[np.ndarray, "t"]:
    scores, right, count = [np.zeros(0)], [np.zeros((len(thresholds), 0), bool)], 0
    for mine, theirs in zip(found, true):
        wanted = theirs.boxes[theirs.labels == label]
        rows = np.flatnonzero(mine.labels == label)
        rows = rows[np.argsort(-mine.scores[rows], kind="stable")][:MOST]
        scores.append(mine.scores[rows])
        right.append(_found_right(box_iou(mine.boxes[rows, None], wanted[None]), thresholds))
        count += len(wanted)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return np.array([_area(hits[order], count) for hits in np.concatenate(right, axis=1)])


def _found_right(overlaps: Float[np.ndarray, "n m"], thresholds: np.ndarray) -> np.ndarray:
    """Returns bool [T, N]: which boxes, the surest first, find a true one that is still free."""
    right = np.zeros((len(thresholds), len(overlaps)), bool)
    for hits, threshold in zip(right, thresholds):
        free = np.ones(overlaps.shape[1], bool)
        for row, best in _best_free(overlaps, free):
            hits[row] = overlaps[row, best] >= min(threshold, 1 - 1e-10)
            free[best] &= not hits[row]
    return right


def _best_free(overlaps: np.ndarray, free: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields each box with the free true one that it overlaps most, of equal ones the last."""
    for row, values in enumerate(overlaps):
        if free.any():
            yield row, len(free) - 1 - int(np.where(free, values, -1)[::-1].argmax())


def _area(hits: np.ndarray, count: int) -> float:
    """Returns the mean over 101 recalls of the best precision at that recall or a higher one."""
    true = np.cumsum(hits)
    recall = true / count
    precision = true / (np.arange(1, len(hits) + 1) + np.spacing(1))
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(recall, _RECALLS)].mean())

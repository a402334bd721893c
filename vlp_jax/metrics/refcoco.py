"""Referring expressions (RefCOCO, RefCOCO+, RefCOCOg): overlap of boxes, and the share found.

Boxes are x, y, width, height in pixels, as in the data sets' files.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from vlp_jax.metrics.checks import array_of_shape, same_length


def referring_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the overlap of boxes [..., 4] as the published evaluations compute it, [...].

    Intersection over union of continuous boxes, but 0 where the boxes share no more than one pixel
    of width or height (refer toolkit, ALBEF and UNITER alike).
    """
    first, second = _checked("first", first), _checked("second", second)
    low = np.maximum(first[..., :2], second[..., :2])
    # The last pixel inside a box, in the order of operations of the original: ties at 0.5 exist.
    last = np.minimum(first[..., :2] + first[..., 2:] - 1, second[..., :2] + second[..., 2:] - 1)
    shared = np.where((low < last).all(-1), np.prod(last - low + 1, axis=-1), 0.0)
    union = np.prod(first[..., 2:], axis=-1) + np.prod(second[..., 2:], axis=-1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def referring_accuracy(
    predicted: np.ndarray, truth: np.ndarray, *, threshold: float = 0.5, inclusive: bool = True
) -> float:
    """Returns the share of predicted boxes [N, 4] that overlap their truth [N, 4]; NaN for N = 0.

    An overlap equal to `threshold` counts if `inclusive` (ALBEF), else not (UNITER).
    """
    predicted = array_of_shape("predicted", predicted, ("expressions", 4))
    truth = array_of_shape("truth", truth, predicted.shape)
    overlap = referring_iou(predicted, truth)
    found = overlap >= threshold if inclusive else overlap > threshold
    return float(found.mean()) if found.size else float("nan")


def referring_accuracy_by_split(
    predicted: np.ndarray, truth: np.ndarray, splits: Sequence[str], *, inclusive: bool = True
) -> Mapping[str, float]:
    """Returns `referring_accuracy` for each name in `splits` [N], such as val, testA and testB."""
    same_length(predicted=predicted, truth=truth, splits=splits)
    predicted, truth, names = np.asarray(predicted), np.asarray(truth), np.asarray(splits)
    chosen = {name: names == name for name in dict.fromkeys(splits)}
    return {
        name: referring_accuracy(predicted[rows], truth[rows], inclusive=inclusive)
        for name, rows in chosen.items()
    }


def heat_in_boxes(
    heat_map: np.ndarray, boxes: np.ndarray, height: int, width: int, alpha: float
) -> np.ndarray:
    """Returns how much of a heat map [h, w] each of the `boxes` [N, 4] of an image holds, [N].

    The map is resized bicubically to `height` x `width` pixels; a box scores the sum inside it,
    corners cut to whole pixels, over its area to the power `alpha` (ALBEF, section 6.5, weakly
    supervised grounding).
    """
    heat_map = array_of_shape("heat_map", heat_map, ("h", "w")).astype(np.float64)
    boxes = _checked("boxes", array_of_shape("boxes", boxes, ("boxes", 4)))
    heat = cv2.resize(heat_map, (width, height), interpolation=cv2.INTER_CUBIC)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(int)
    inside = np.array([heat[y1:y2, x1:x2].sum() for x1, y1, x2, y2 in corners.tolist()])
    areas = np.prod(boxes[:, 2:], axis=1)
    return np.divide(inside, areas**alpha, out=np.zeros(len(boxes)), where=areas > 0)


def box_under_heat(
    heat_map: np.ndarray, boxes: np.ndarray, height: int, width: int, alpha: float
) -> int | None:
    """Returns which of the candidate boxes scores highest in `heat_in_boxes`.

    Of equal boxes the first is taken; None if none scores above 0.
    """
    scores = heat_in_boxes(heat_map, boxes, height, width, alpha)
    return int(scores.argmax()) if (scores > 0).any() else None


def _checked(name: str, boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim < 1 or boxes.shape[-1] != 4 or (boxes[..., 2:] < 0).any():
        raise ValueError(
            f"{name} has shape {list(boxes.shape)} and least width or height "
            f"{boxes[..., 2:].min(initial=0)}, expected [..., 4]: x, y, width >= 0, height >= 0"
        )
    return boxes

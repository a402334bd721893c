"""Phrase grounding metrics: intersection over union, accuracy at a threshold, pointing game."""

import numpy as np

from vlp_jax.evaluation.checks import array_of_shape


def _boxes(name: str, value: np.ndarray) -> np.ndarray:
    boxes = np.asarray(value, np.float64)
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"{name} has shape {list(boxes.shape)}, expected [..., 4]: x1, y1, x2, y2")
    if (boxes[..., 2:] < boxes[..., :2]).any():
        raise ValueError(f"{name} has a box with x2 < x1 or y2 < y1, expected x1, y1, x2, y2")
    return boxes


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of boxes x1, y1, x2, y2 that broadcast, [..., 4] → [...].

    Coordinates are continuous (no pixel is added); two empty boxes have 0. For all pairs pass
    `first[:, None], second[None]`.
    """
    first, second = _boxes("first", first), _boxes("second", second)
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=-1)
    union = _area(first) + _area(second) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def grounding_accuracy(
    predicted: np.ndarray, truth: np.ndarray, threshold: float = 0.5
) -> float:
    """Returns the share of boxes [N, 4] that reach `threshold` IoU with their truth [N, 4].

    At least the threshold counts (RefCOCO convention). NaN when there is no box.
    """
    predicted = array_of_shape("predicted", predicted, ("boxes", 4))
    truth = array_of_shape("truth", truth, predicted.shape)
    return float((box_iou(predicted, truth) >= threshold).mean()) if len(truth) else float("nan")


def pointing_game(heat_maps: np.ndarray, boxes: np.ndarray) -> float:
    """Returns the share of heat maps whose highest cell has its centre inside the true box.

    `heat_maps` is [N, h, w], `boxes` [N, 4] in the unit square (Zhang et al. 2018, section 4.2,
    without the pixel tolerance). Of equal cells the first in reading order is taken. NaN for N = 0.
    """
    maps = array_of_shape("heat_maps", heat_maps, ("maps", "h", "w"))
    boxes = _boxes("boxes", array_of_shape("boxes", boxes, (len(maps), 4)))
    if not len(maps):
        return float("nan")
    height, width = maps.shape[1:]
    row, column = np.divmod(maps.reshape(len(maps), -1).argmax(1), width)
    point = np.stack([(column + 0.5) / width, (row + 0.5) / height], axis=1)
    inside = (point >= boxes[:, :2]) & (point <= boxes[:, 2:])
    return float(inside.all(1).mean())


def pointing_chance(boxes: np.ndarray) -> float:
    """Returns the pointing-game value of a random point: the mean area of unit-square boxes."""
    return float(_area(np.clip(_boxes("boxes", boxes), 0.0, 1.0)).mean())

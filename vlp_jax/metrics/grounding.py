"""Phrase grounding metrics: accuracy at a threshold of overlap, and the pointing game."""

import numpy as np

from vlp_jax.data.boxes import box_areas, box_iou, checked_boxes
from vlp_jax.metrics.checks import array_of_shape


def grounding_accuracy(predicted: np.ndarray, truth: np.ndarray, threshold: float = 0.5) -> float:
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
    boxes = checked_boxes("boxes", array_of_shape("boxes", boxes, (len(maps), 4)))
    if not len(maps):
        return float("nan")
    height, width = maps.shape[1:]
    row, column = np.divmod(maps.reshape(len(maps), -1).argmax(1), width)
    point = np.stack([(column + 0.5) / width, (row + 0.5) / height], axis=1)
    inside = (point >= boxes[:, :2]) & (point <= boxes[:, 2:])
    return float(inside.all(1).mean())


def pointing_chance(boxes: np.ndarray) -> float:
    """Returns the pointing-game value of a random point: the mean area of unit-square boxes."""
    return float(box_areas(np.clip(checked_boxes("boxes", boxes), 0.0, 1.0)).mean())

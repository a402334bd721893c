"""Boxes proposed for pictures whose pixels a model reads, and the one an expression means."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vlp_jax.data.boxes import unit_boxes
from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.regions import Regions
from vlp_jax.inference.region_inputs import as_regions, pixel_box
from vlp_jax.inference.results import Grounded
from vlp_jax.metrics.refcoco import heat_in_boxes
from vlp_jax.tasks.grounding import AREA_EXPONENT


def proposed_boxes(given: Any, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns x1, y1, x2, y2 in pixels, float64 [N, 4], of the boxes proposed for each picture.

    given: of one picture or of a list, boxes [N, 4] in pixels or anything that `as_regions` takes.
    pictures: uint8 [H, W, 3]. ValueError for boxes of other pictures or of another shape.
    """
    proposed = _each(given)
    if len(proposed) != len(pictures):
        raise ValueError(
            f"ground was given {len(pictures)} pictures and boxes of {len(proposed)}; expected "
            "those of each picture"
        )
    return [_in_pixels(*pair, f"regions[{i}]") for i, pair in enumerate(zip(proposed, pictures))]


def _each(given: Any) -> list[Any]:
    if given is None:
        raise ValueError(
            "ground: this model chooses among boxes: give `regions`, as boxes [N, 4] of x1, y1, "
            "x2, y2 in pixels, or as `Regions` (a value, a (store, key) pair or a features file)"
        )
    if isinstance(given, np.ndarray | list) and _depth(given) > 1:
        return list(given) if _depth(given) > 2 else [given]
    return as_regions(given)


def _depth(value: Any) -> int:
    nested = isinstance(value, np.ndarray | list) and len(value)
    return 1 + _depth(value[0]) if nested else 0


def _in_pixels(given: Any, picture: np.ndarray, name: str) -> np.ndarray:
    height, width = picture.shape[:2]
    if isinstance(given, Regions):
        # A picture of which only shares are known is 1 x 1.
        if (given.width, given.height) not in ((width, height), (1, 1)):
            raise ValueError(
                f"{name} are of a picture of {given.width} x {given.height} pixels, and the "
                f"picture has {width} x {height}"
            )
        boxes = [pixel_box(given, row) for row in range(len(given))]
        return np.array(boxes) * np.tile([width / given.width, height / given.height], 2)
    with foreign_bytes(f"{name} are no boxes [N, 4] of x1, y1, x2, y2 in pixels"):
        boxes = np.asarray(given, np.float64)
        unit_boxes(boxes, width, height)
    return boxes


def under_heat(heat: np.ndarray, boxes: np.ndarray, picture: np.ndarray) -> Grounded:
    """Returns the box that holds most of a heat map [h, w] for its area; its share of all scores.

    boxes: x1, y1, x2, y2 in pixels of the picture, uint8 [H, W, 3].
    """
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    scores = heat_in_boxes(heat, sizes, *picture.shape[:2], AREA_EXPONENT)
    best, positive = int(scores.argmax()), np.maximum(scores, 0)
    share = float(positive[best] / (positive.sum() or 1.0))
    return Grounded(best, tuple(map(float, boxes[best])), share, tuple(map(float, scores)))

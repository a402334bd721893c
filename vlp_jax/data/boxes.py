"""Region boxes: from pixels to the unit square, along with crops, flips and warps, and overlap."""

import numpy as np

_SHARES_REACH = 1.05
PIXEL_SLACK = 1.0  # detectors put borders up to one pixel outside the picture


def unit_boxes(
    boxes: np.ndarray, width: int, height: int, slack: float = PIXEL_SLACK
) -> np.ndarray:
    """Returns boxes [N, 4] (x1, y1, x2, y2 in pixels) as float32 in the unit square.

    The only place where pixels become shares of the picture. ValueError for another shape, for
    entries that are not finite, reversed corners, corners more than `slack` pixels outside, and for
    boxes that are shares already: all within one pixel of a picture of several, and as little
    outside of it as detectors are. A picture of which only shares are known is 1 x 1.
    """
    boxes = np.asarray(boxes, np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes have shape {list(boxes.shape)}, expected [N, 4]")
    size = np.array([width, height, width, height], np.float32)
    if not np.isfinite(boxes).all():
        raise ValueError("boxes hold a value that is not finite")
    if (boxes[:, :2] > boxes[:, 2:]).any():
        worst = boxes[(boxes[:, :2] > boxes[:, 2:]).any(axis=1)][0]
        raise ValueError(f"box {worst.tolist()} is reversed, expected x1 <= x2 and y1 <= y2")
    outside = ((boxes < -slack) | (boxes > size + slack)).any(axis=1)
    if outside.any():
        raise ValueError(
            f"box {boxes[outside][0].tolist()} lies outside the picture of {width} x {height} "
            "pixels, expected absolute x1, y1, x2, y2"
        )
    check_pixels(boxes, width, height)
    return np.clip(boxes / size, 0.0, 1.0)


def check_pixels(boxes: np.ndarray, width: float, height: float) -> None:
    """Raises ValueError for boxes [N, 4] in shares of a picture, where pixels are expected."""
    if min(width, height) > _SHARES_REACH and 0 < boxes.max(initial=0) <= _SHARES_REACH:
        raise ValueError(
            f"boxes reach to {boxes.max():.6g} in a picture of {width} x {height} pixels: they are "
            "shares of the picture already, expected absolute numbers of pixels"
        )


def move_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Returns the upright rectangles around unit boxes [N, 4] moved by an affine map [2, 3].

    The map acts on unit-square points (x, y, 1). The result is not clipped.
    """
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    moved = corners @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32)
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)


def visible_boxes(boxes: np.ndarray, least: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Returns boxes clipped to the unit square and whether enough of each is still inside.

    A box counts as visible (bool [N]) if at least the share `least` of its area remains.
    """
    clipped = np.clip(boxes, 0.0, 1.0)
    area, left = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, clipped))
    return clipped, left >= np.maximum(least * area, 1e-6)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of boxes x1, y1, x2, y2 that broadcast, [..., 4] → [...].

    Coordinates are continuous (no pixel is added); two empty boxes have 0. For all pairs pass
    `first[:, None], second[None]`.
    """
    first, second = checked_boxes("first", first), checked_boxes("second", second)
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=-1)
    union = box_areas(first) + box_areas(second) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Returns the areas [...] of boxes [..., 4]."""
    return np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)


def checked_boxes(name: str, boxes: np.ndarray) -> np.ndarray:
    """Returns boxes as float64 [..., 4]; another shape or a reversed box is a ValueError."""
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"{name} has shape {list(boxes.shape)}, expected [..., 4]: x1, y1, x2, y2")
    if (boxes[..., 2:] < boxes[..., :2]).any():
        raise ValueError(f"{name} has a box with x2 < x1 or y2 < y1, expected x1, y1, x2, y2")
    return boxes

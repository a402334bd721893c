"""Region boxes: from absolute pixels to the unit square, and along with crops, flips and warps."""

import numpy as np

_SLACK = 1.0  # detectors put borders up to one pixel outside the picture


def unit_boxes(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns boxes [N, 4] (x1, y1, x2, y2 in pixels) as float32 in the unit square.

    The only place where pixels become shares of the picture. ValueError for another shape, for
    entries that are not finite, reversed corners, and corners more than a pixel outside.
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
    outside = ((boxes < -_SLACK) | (boxes > size + _SLACK)).any(axis=1)
    if outside.any():
        raise ValueError(
            f"box {boxes[outside][0].tolist()} lies outside the picture of {width} x {height} "
            "pixels, expected absolute x1, y1, x2, y2"
        )
    return np.clip(boxes / size, 0.0, 1.0)


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

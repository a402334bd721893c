"""Boxes that a detector proposes for pictures, without features (ALBEF's `dets.json`)."""

import numpy as np

from vlp_jax.data.json_text import read_object


def read_proposals(path: str) -> dict[str, np.ndarray]:
    """Returns x, y, width, height in pixels, float64 [N, 4], by the id of each picture.

    The file is a JSON object of lists of boxes; what a box has beyond four numbers, such as its
    score, is not read. ValueError for what is no such file.
    """
    content = read_object(path, "file of proposed boxes")
    where = f"{path}: the boxes of picture"
    return {name: _boxes(rows, f"{where} {name}") for name, rows in content.items()}


def _boxes(rows: object, where: str) -> np.ndarray:
    try:
        boxes = np.array([row[:4] for row in rows], np.float64).reshape(len(rows), 4)
    except (TypeError, ValueError):
        raise ValueError(f"{where} are {rows!r:.80}, expected [[x, y, width, height], …]") from None
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < 0).any():
        raise ValueError(f"{where} have numbers that are not finite, or a size below 0")
    return boxes

"""Anchors: the boxes that a region proposal network moves, the same around every cell."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

STRIDE = 16
"""Pixels between two cells of the map that anchors lie on."""


def centred_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """Returns float32 [A, 4] around (0, 0): of each size one for each ratio of height to width.

    Source: detectron2, whose box of size s has the area s².
    """
    size, ratio = np.repeat(np.float64(sizes), len(ratios)), np.tile(ratios, len(sizes))
    width = np.sqrt(size**2 / ratio)
    corner = np.stack([width, ratio * width], axis=1) / 2
    return np.concatenate([-corner, corner], axis=1).astype(np.float32)


def integer_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """Returns float32 [A, 4] around the middle of a cell: of each ratio one for each size.

    Corners are the first and last pixel. Source: py-faster-rcnn's `generate_anchors`.
    """
    middle = (STRIDE - 1) / 2
    width = np.round(np.sqrt(STRIDE**2 / np.float64(ratios)))
    height = np.round(width * ratios)
    scale = np.float64(sizes) / STRIDE
    sides = np.stack([width, height], axis=1)[:, None] * scale[:, None]
    reach = (sides.reshape(-1, 2) - 1) / 2
    return np.concatenate([middle - reach, middle + reach], axis=1).astype(np.float32)


def grid_anchors(
    cell: Float[Array, "a 4"], height: int, width: int, stride: int = STRIDE
) -> Float[Array, "height*width*a 4"]:
    """Returns the anchors of every cell of a map, row by row, in the unit of `stride`, pixels."""
    y, x = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    shifts = jnp.stack([x, y, x, y], axis=-1) * float(stride)
    return (shifts[:, :, None] + cell).reshape(-1, 4)

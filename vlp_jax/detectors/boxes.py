"""Boxes x1, y1, x2, y2 in pixels: decoding, clipping and overlap, by the conventions in use."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

# A box grows to at most 1000 pixels from one of 16, as in every implementation since 2015.
LARGEST_GROWTH = math.log(1000 / 16)


class Sides(NamedTuple):
    """How long the sides of a box are.

    Attributes:
      pixel: what a side has beyond the difference of its ends; 1 where the far end is the last
        pixel inside.
      decoded: what is taken off the far end of a decoded box.
    """

    pixel: float
    decoded: float


PLAIN = Sides(0.0, 0.0)
"""Ends are points: detectron2 and what follows it."""
CAFFE = Sides(1.0, 0.0)
"""py-faster-rcnn, which forgets the pixel when it decodes."""
INCLUSIVE = Sides(1.0, 1.0)
"""maskrcnn-benchmark, which does not."""


def decode(
    anchors: Float[Array, "*n 4"],
    deltas: Float[Array, "*n 4"],
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    sides: Sides = PLAIN,
) -> Float[Array, "*n 4"]:
    """Returns anchors moved by shares of their sides and grown by the exponents of the last two.

    Deltas are divided by `weights`. Source: R-CNN (Girshick et al. 2014), appendix C.
    """
    size = anchors[..., 2:] - anchors[..., :2] + sides.pixel
    deltas = deltas / jnp.array(weights, deltas.dtype)
    centre = anchors[..., :2] + 0.5 * size + deltas[..., :2] * size
    half = 0.5 * jnp.exp(jnp.minimum(deltas[..., 2:], LARGEST_GROWTH)) * size
    return jnp.concatenate([centre - half, centre + half - sides.decoded], axis=-1)


def encode(
    anchors: Float[Array, "*n 4"],
    boxes: Float[Array, "*n 4"],
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
) -> Float[Array, "*n 4"]:
    """Returns the deltas from which `decode` makes boxes of anchors; both have sides above 0."""
    size, wanted = anchors[..., 2:] - anchors[..., :2], boxes[..., 2:] - boxes[..., :2]
    moved = (boxes[..., :2] + 0.5 * wanted - anchors[..., :2] - 0.5 * size) / size
    deltas = jnp.concatenate([moved, jnp.log(wanted / size)], axis=-1)
    return deltas * jnp.array(weights, deltas.dtype)


def clip(
    boxes: Float[Array, "*n 4"], size: Float[Array, "2"], sides: Sides = PLAIN
) -> Float[Array, "*n 4"]:
    """Returns boxes cut at the borders of a picture of `size` = (height, width)."""
    height, width = size[0] - sides.pixel, size[1] - sides.pixel
    return jnp.clip(boxes, 0.0, jnp.stack([width, height, width, height]).astype(boxes.dtype))


def large_enough(
    boxes: Float[Array, "*n 4"], least: Float[Array, ""] | float, sides: Sides = PLAIN
) -> Bool[Array, "*n"]:
    """Returns which boxes have sides of `least` pixels; points as ends need more than that."""
    size = boxes[..., 2:] - boxes[..., :2] + sides.pixel
    return jnp.all(size >= least if sides.pixel else size > least, axis=-1)


def overlapping(
    boxes: Float[Array, "n 4"], threshold: float, sides: Sides = PLAIN
) -> Bool[Array, "n n"]:
    """Returns which pairs have an intersection over union strictly above the threshold.

    A pair of empty boxes has none.
    """
    return overlaps(boxes, boxes, sides) > _at_most(threshold)


def overlaps(
    first: Float[Array, "n 4"], second: Float[Array, "m 4"], sides: Sides = PLAIN
) -> Float[Array, "n m"]:
    """Returns the intersection over union of all pairs, NaN for two empty boxes."""
    areas = [jnp.prod(x[:, 2:] - x[:, :2] + sides.pixel, axis=1) for x in (first, second)]
    low = jnp.maximum(first[:, None, :2], second[None, :, :2])
    high = jnp.minimum(first[:, None, 2:], second[None, :, 2:])
    both = jnp.maximum(high - low + sides.pixel, 0.0)
    shared = both[..., 0] * both[..., 1]
    return shared / (areas[0][:, None] + areas[1][None, :] - shared)


def _at_most(threshold: float) -> np.float32:
    """The largest float32 that is not above: the kernels compare in float64."""
    nearest = np.float32(threshold)
    return nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf))

"""Which boxes stand for which true ones, and a balanced draw of those that a loss counts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.detectors.boxes import overlaps


class Matches(NamedTuple):
    """What boxes are to a picture's true ones; a box that is neither counts in no loss.

    Attributes:
      truths: the true box that each overlaps most.
      positive, negative: whether it stands for that one, and whether it shows background.
    """

    truths: Int[Array, "n"]
    positive: Bool[Array, "n"]
    negative: Bool[Array, "n"]


def match(
    boxes: Float[Array, "n 4"],
    truths: Float[Array, "m 4"],
    mask: Bool[Array, "m"],
    positive: float,
    negative: float,
    every_truth: bool = False,
) -> Matches:
    """Returns the matches of boxes with the true ones in `mask`, by their overlap.

    A box is positive from an overlap of `positive` on and negative below `negative`. With
    `every_truth` those that overlap a true box most are positive as well, however little it is.
    Source: Ren et al. 2015, section 3.1.2.
    """
    shared = jnp.where(mask, jnp.nan_to_num(overlaps(boxes, truths)), 0.0)
    best = shared.max(axis=1)
    found = best >= positive
    if every_truth:
        most = shared.max(axis=0)
        found |= jnp.any((shared == most) & (most > 0), axis=1)
    return Matches(shared.argmax(axis=1), found, (best < negative) & ~found)


def sample(
    key: Array, matches: Matches, count: int, share: float
) -> tuple[Bool[Array, "n"], Bool[Array, "n"]]:
    """Draws `count` boxes, at most the `share` of them positive; returns which of either kind.

    Where there are too few positive boxes, negative ones take their places.
    """
    keys = jax.random.split(key)
    positive = _some(keys[0], matches.positive, int(count * share))
    return positive, _some(keys[1], matches.negative, count - positive.sum())


def _some(key: Array, mask: Bool[Array, "n"], most: Array | int) -> Bool[Array, "n"]:
    """Draws at most so many of those in the mask."""
    order = jnp.argsort(jnp.where(mask, jax.random.uniform(key, mask.shape), 2.0))
    return mask & (jnp.argsort(order) < most)

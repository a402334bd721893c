"""Non-maximum suppression, exactly as one box after the other, but for all boxes at once."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vlp_jax.detectors.boxes import PLAIN, Sides, overlapping

# Classes whose matrices of pairs are in memory at once.
CLASSES_AT_ONCE = 32


@partial(jax.jit, static_argnames=("threshold", "sides"))
def suppress(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, "n"],
    mask: Bool[Array, "n"],
    threshold: float,
    sides: Sides = PLAIN,
) -> Bool[Array, "n"]:
    """Returns which boxes stay when each that stays removes lower ones that overlap it too much.

    Of equal scores the one that stands first is the higher. Only boxes in `mask` take part.
    """
    return _unsuppressed(overlapping(boxes, threshold, sides), scores, mask)


@partial(jax.jit, static_argnames=("threshold", "sides"))
def suppress_by_class(
    boxes: Float[Array, "n 4"] | Float[Array, "n c 4"],
    scores: Float[Array, "n c"],
    mask: Bool[Array, "n"],
    threshold: float,
    sides: Sides = PLAIN,
) -> Bool[Array, "n c"]:
    """Returns `suppress` for each class by its own scores, over its own boxes or the same ones."""
    if boxes.ndim == 3:
        of_class = lambda own: suppress(*own, mask, threshold, sides)
        given = boxes.swapaxes(0, 1), scores.T
    else:
        pairs = overlapping(boxes, threshold, sides)
        of_class = lambda column: _unsuppressed(pairs, column, mask)
        given = scores.T
    return jax.lax.map(of_class, given, batch_size=CLASSES_AT_ONCE).T


def _unsuppressed(
    pairs: Bool[Array, "n n"], scores: Float[Array, "n"], mask: Bool[Array, "n"]
) -> Bool[Array, "n"]:
    """Which boxes no box that stays removes: the one set that satisfies its own definition.

    Each round settles at least the next box in descending order, and in practice all but chains of
    boxes that free each other: the second round frees what a removed box had removed, and so on.
    """
    index = jnp.arange(len(scores))
    higher = scores[:, None] > scores[None, :]
    higher |= (scores[:, None] == scores[None, :]) & (index[:, None] < index[None, :])
    removes = pairs & higher

    def next_round(state: tuple[Array, Array]) -> tuple[Array, Array]:
        _, stays = state
        return stays, mask & ~jnp.any(removes & stays[:, None], axis=0)

    changed = lambda state: jnp.any(state[0] != state[1])
    return jax.lax.while_loop(changed, next_round, (jnp.zeros_like(mask), mask))[1]

"""Losses of a detector's two stages: is there something, or what is it; and where is it."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.losses.cross_entropy import cross_entropy, masked_mean

# Where smooth L1 turns from a square into a line. Source: py-faster-rcnn, whose sigma is 3 for
# proposals (1 / 3²) and 1 for regions.
PROPOSAL_TURN, REGION_TURN = 1 / 9, 1.0


def smooth_l1(
    predicted: Float[Array, "*b 4"], targets: Float[Array, "*b 4"], turn: float
) -> Float[Array, "*b"]:
    """Returns Σ of |x| - turn / 2 over the differences x, below `turn` of x² / (2 turn).

    Source: Girshick 2015, equation 3.
    """
    return optax.losses.huber_loss(predicted, targets, delta=turn).sum(-1) / turn


def objectness_loss(
    logits: Float[Array, "*b"], positive: Bool[Array, "*b"], negative: Bool[Array, "*b"]
) -> Float[Array, ""]:
    """Returns the mean binary cross-entropy over the anchors that were drawn.

    Source: Ren et al. 2015, equation 1.
    """
    losses = optax.losses.sigmoid_binary_cross_entropy(logits, positive.astype(jnp.float32))
    return masked_mean(losses, positive | negative)


def class_loss(
    logits: Float[Array, "*b c"], labels: Int[Array, "*b"], drawn: Bool[Array, "*b"]
) -> Float[Array, ""]:
    """Returns the mean cross-entropy over the regions that were drawn; class 0 is background."""
    return masked_mean(cross_entropy(logits, labels), drawn)


def box_loss(
    deltas: Float[Array, "*b 4"],
    targets: Float[Array, "*b 4"],
    positive: Bool[Array, "*b"],
    drawn: Bool[Array, "*b"],
    turn: float,
) -> Float[Array, ""]:
    """Returns Σ over positive boxes of smooth L1, over the number that were drawn.

    So it weighs as much as the classes do. Source: Girshick 2015, equation 1; targets of other
    boxes may hold anything.
    """
    losses = jnp.where(positive, smooth_l1(deltas, _where(positive, targets), turn), 0.0)
    return losses.sum() / jnp.maximum(drawn.sum(), 1)


def _where(mask: Array, values: Array) -> Array:
    """NaN of what does not count would reach gradients through a product with zero."""
    return jnp.where(mask[..., None], values, 0.0)

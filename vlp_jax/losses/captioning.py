"""The loss of captioning by masked words: smoothed labels, and the worst words left out (VinVL)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.losses.cross_entropy import divergence_terms, masked_mean


def smoothed_losses(
    logits: Float[Array, "*b v"], labels: Int[Array, "*b"], smoothing: float = 0.0
) -> Float[Array, "*b"]:
    """Returns KL(target ‖ softmax) of every position.

    The target is 1 - smoothing on the label and shares `smoothing` equally among the other words;
    without smoothing this is cross-entropy. Source: `BertCaptioningLoss` of microsoft/Oscar.
    """
    words = logits.shape[-1]
    hot = jax.nn.one_hot(labels, words)
    target = hot * (1 - smoothing) + (1 - hot) * smoothing / (words - 1)
    return divergence_terms(logits, target).sum(-1)


def mean_of_least(
    losses: Float[Array, "*b"],
    counts: Bool[Array, "*b"],
    drop: float = 0.0,
    begun: Bool[Array, ""] | bool = True,
) -> Float[Array, ""]:
    """Returns the mean of the n·(1 - drop), rounded down, smallest of the n losses that count.

    Until leaving out has `begun` it is the mean of all that count.
    """
    if drop == 0:
        return masked_mean(losses, counts)
    ordered = jnp.sort(jnp.where(counts, losses, jnp.inf).reshape(-1))
    count = counts.sum()
    # Rounded down in float64 as the original does: float32 can end on the other side.
    kept = np.floor(np.arange(ordered.size + 1) * (1 - drop)).astype(np.int32)
    keep = jnp.arange(ordered.size) < jnp.where(begun, jnp.asarray(kept)[count], count)
    return masked_mean(jnp.where(keep, ordered, 0.0), keep)

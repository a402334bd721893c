"""The loss of phrases that mean regions of a picture."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vlp_jax.losses.cross_entropy import divergence_terms


def phrase_targets(right: Bool[Array, "*b r"]) -> Float[Array, "*b r"]:
    """Returns 1/n for each of the n regions that are right, float32; zeros where none is."""
    counts = right.sum(-1, keepdims=True)
    return right.astype(jnp.float32) / jnp.maximum(counts, 1)


def phrase_loss(logits: Float[Array, "b p r"], right: Bool[Array, "b p r"]) -> Float[Array, ""]:
    """Returns KL(`phrase_targets` ‖ softmax over regions), summed over phrases, the mean over B.

    A phrase that no region shows gives zero. Source: github.com/uclanlp/visualbert, whose
    `KLDivLoss` with "batchmean" divides by the number of captions and not of phrases.
    """
    return divergence_terms(logits, phrase_targets(right)).sum((-2, -1)).mean()

"""Losses of answers from a closed list."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from vlp_jax.losses.cross_entropy import divergence_terms, soft_cross_entropy


def answer_loss(
    logits: Float[Array, "b a"], scores: Float[Array, "b a"], form: str
) -> Float[Array, ""]:
    """Returns the mean loss of answer logits against soft scores in [0, 1].

    * "bce": binary cross-entropy summed over answers (UNITER, ViLBERT, LXMERT write it as mean ×
      number of answers).
    * "ce": cross-entropy against scores normalised to sum to one. LXMERT draws one answer by these
      scores for each question, which gives the same on average.
    * "kl": KL(normalised scores ‖ softmax), which differs from "ce" by the targets' entropy.
    * "kl_unnormalised": the same against the scores as they are, so that a question whose answers
      are all doubtful counts less (VisualBERT).
    """
    if form == "bce":
        return optax.losses.sigmoid_binary_cross_entropy(logits, scores).sum(-1).mean()
    if form == "kl_unnormalised":
        return divergence_terms(logits, scores).sum(-1).mean()
    targets = scores / jnp.maximum(scores.sum(-1, keepdims=True), 1e-12)
    if form == "kl":
        return divergence_terms(logits, targets).sum(-1).mean()
    return soft_cross_entropy(logits, targets).mean()

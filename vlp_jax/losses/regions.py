"""Losses of what the detector saw in regions: features, classes, and labels by confidence."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.losses.cross_entropy import cross_entropy, divergence_terms, masked_mean

# The original's 1 / mask probability; Hugging Face rounds it to 6.67.
LOSS_SCALE = 1 / 0.15


def feature_losses(
    predicted: Float[Array, "*b f"], targets: Float[Array, "*b f"], form: str = "l2"
) -> Float[Array, "*b"]:
    """Returns the loss of each region's feature, averaged over its numbers.

    * "l2": squared error. UNITER's paper (section 3.2) writes a squared norm; its code averages
      over the feature as well, and so does ViLBERT's.
    * "smooth_l1": LXMERT (section 3.1.2).
    """
    loss = optax.losses.huber_loss if form == "smooth_l1" else optax.losses.squared_error
    return loss(predicted.astype(jnp.float32), targets).mean(-1)


def class_losses(
    logits: Float[Array, "*b c"], scores: Float[Array, "*b c"], form: str = "kl_mean"
) -> Float[Array, "*b"]:
    """Returns the loss of each region's class logits against the detector's class distribution.

    * "kl_mean": KL(scores ‖ softmax) over the number of classes. UNITER's code takes the mean over
      all elements, so that the loss is as many times smaller than in its paper (section 3.2).
    * "kl_sum": KL(scores ‖ softmax) (ViLBERT, section 2.2).
    * "ce": cross-entropy against the best class but the first, which is the background: it can be
      predicted and is never a target (UNITER's MRC).
    """
    if form == "ce":
        return cross_entropy(logits, best_class(scores))
    terms = divergence_terms(logits, scores)
    return terms.mean(-1) if form == "kl_mean" else terms.sum(-1)


def best_class(scores: Float[Array, "*b c"]) -> Int[Array, "*b"]:
    """Returns the class of the highest score; class 0, the background, does not take part."""
    return 1 + jnp.argmax(scores[..., 1:], axis=-1)


def weighted_region_loss(
    losses: Float[Array, "b r"],
    weights: Float[Array, "b r"],
    real: Bool[Array, "b r"] | None = None,
    scale: float = LOSS_SCALE,
) -> Float[Array, ""]:
    """Returns scale · Σ weight · loss / number of regions, those of weight zero counted as well.

    Source: `modeling.py` of airsplay/lxmert. `real` leaves out padding, which LXMERT's 36 regions
    never have.
    """
    if real is None:
        real = jnp.ones(losses.shape, bool)
    return masked_mean(losses * weights, real) * scale

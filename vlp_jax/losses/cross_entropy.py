"""Cross-entropy in the forms that several losses share, and means over masks; all in float32."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


def cross_entropy(logits: Float[Array, "*b c"], labels: Int[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns -log softmax(logits)[label] in float32 for every position.

    optax's subtracts the logit from log Σ exp, which loses the digits of small losses.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]


def soft_cross_entropy(
    logits: Float[Array, "*b c"], targets: Float[Array, "*b c"]
) -> Float[Array, "*b"]:
    """Returns -Σ targets · log softmax(logits) in float32 for every position."""
    return optax.losses.softmax_cross_entropy(logits.astype(jnp.float32), targets)


def distilled_cross_entropy(
    logits: Float[Array, "*b c"],
    labels: Int[Array, "*b"],
    teacher_logits: Float[Array, "*b c"],
    alpha: Array | float,
) -> Float[Array, "*b"]:
    """Returns (1-α)·CE(labels) + α·CE(softmax of the teacher) for every position.

    No gradient reaches the teacher. Source: ALBEF (Li et al. 2021), section 3.3, for masked words,
    answers and the classes of fine-tuning alike.
    """
    soft = jax.nn.softmax(jax.lax.stop_gradient(teacher_logits).astype(jnp.float32))
    return (1 - alpha) * cross_entropy(logits, labels) + alpha * soft_cross_entropy(logits, soft)


def divergence_terms(
    logits: Float[Array, "*b c"], targets: Float[Array, "*b c"]
) -> Float[Array, "*b c"]:
    """Returns target · (log target - log softmax) in float32, whose sum is KL(targets ‖ softmax).

    A class of target zero gives zero. Targets that do not sum to one are taken as they are.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    return jax.scipy.special.xlogy(targets, targets) - targets * log_probabilities


def labelled_mean(logits: Float[Array, "*b c"], labels: Int[Array, "*b"]) -> Float[Array, ""]:
    """Returns the mean cross-entropy over positions with a label; negative ones mean there is none.

    Zero where nothing is labelled; the originals give 0/0 there.
    """
    return masked_mean(cross_entropy(logits, jnp.maximum(labels, 0)), labels >= 0)


def masked_mean(values: Float[Array, "*b"], mask: Bool[Array, "*b"]) -> Array:
    """Returns the mean over True positions; zero where there is none, so that it is never NaN."""
    weights = mask.astype(jnp.float32)
    return (values * weights).sum() / jnp.maximum(weights.sum(), 1.0)

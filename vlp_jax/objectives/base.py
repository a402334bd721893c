"""What an objective is, and the small pieces that several objectives share."""

from collections.abc import Mapping
from dataclasses import field
from typing import Protocol

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.objectives.momentum import Queue
from vlp_jax.objectives.views import Views


@flax.struct.dataclass
class Result:
    """What an objective returns: a scalar loss, scalar metrics, and features for the queues."""

    loss: Array
    metrics: Mapping[str, Array] = field(default_factory=dict)
    enqueue: Mapping[str, Array] = field(default_factory=dict)


class Objective(Protocol):
    """A frozen dataclass of settings, called with the views of one batch.

    Class attributes: `reads`, the batch fields it needs besides those of the vision encoder;
    `heads`, the heads that the model must have; `metrics`, the names of the metrics it gives
    beside its loss. Every objective has a `weight`. Hidden regions are shown to a step none of
    whose objectives reads `region_hidden` or has `keeps_regions_hidden` = True.
    """

    weight: float
    reads: frozenset[str]
    heads: tuple[str, ...]
    metrics: tuple[str, ...]

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        """Computes the loss; `ramp` in [0, 1] scales every distillation weight."""


def cross_entropy(logits: Float[Array, "*b c"], labels: Int[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns -log softmax(logits)[label] in float32 for every position."""
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]


def soft_cross_entropy(
    logits: Float[Array, "*b c"], targets: Float[Array, "*b c"]
) -> Float[Array, "*b"]:
    """Returns -Σ targets · log softmax(logits) in float32 for every position."""
    return -(targets * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1)


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

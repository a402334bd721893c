"""Masked language modelling given the image, with momentum distillation (ALBEF section 3.3)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.losses.cross_entropy import cross_entropy, masked_mean, soft_cross_entropy
from vlp_jax.losses.momentum import Queue
from vlp_jax.model import VisionLanguageModel
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result
from vlp_jax.objectives.views import Views


def token_losses(model: VisionLanguageModel, states: Array, labels: Array) -> tuple[Array, Array]:
    """Returns cross-entropy and correctness per position [B, L], for the caller to mask.

    Where a label is negative, that is none, the loss is the one of word 0 and correctness False.
    """
    logits = model.word_logits(states)
    losses = cross_entropy(logits, jnp.maximum(labels, 0))
    return losses, jnp.argmax(logits, -1) == labels


def distilled_losses(model: VisionLanguageModel, states: Array, soft: Array) -> Array:
    """Returns the cross-entropy [B, L] against the teacher's word distribution."""
    return soft_cross_entropy(model.word_logits(states), soft)


def word_distribution(model: VisionLanguageModel, states: Array) -> Array:
    """Returns softmax word probabilities [B, L, V]."""
    return jax.nn.softmax(model.word_logits(states))


@OBJECTIVES.register("mlm")
@dataclass(frozen=True)
class MaskedTextObjective:
    """Cross-entropy of the masked words, averaged over all masked words of the (global) batch.

    With a teacher and `alpha` > 0: (1-α)·CE(labels) + α·CE(teacher), the teacher reading the same
    masked text. A batch without a masked word gives zero.
    """

    weight: float = 1.0
    alpha: float = 0.4

    reads = frozenset({"mlm_ids", "mlm_labels", "text_mask"})
    metrics = ("mlm_accuracy",)
    heads = ("mlm",)

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        labels = views.batch["mlm_labels"]
        masked = labels >= 0
        states = views.fused("masked").text.states
        losses, correct = views.run(token_losses, states, labels, name="mlm")
        loss = masked_mean(losses, masked)
        if teacher is not None and self.alpha > 0:
            alpha = ramp * self.alpha
            teacher_states = teacher.fused("masked").text.states
            soft = teacher.run(word_distribution, teacher_states, name="mlm")
            distilled = views.run(distilled_losses, states, jax.lax.stop_gradient(soft), name="mlm")
            loss = (1 - alpha) * loss + alpha * masked_mean(distilled, masked)
        return Result(loss, {"mlm_accuracy": masked_mean(correct.astype(jnp.float32), masked)})

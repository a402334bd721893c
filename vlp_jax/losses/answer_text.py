"""Visual question answering as writing: the loss of answers that a decoder spells (ALBEF)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.heads.answer_scores import shifted
from vlp_jax.losses.cross_entropy import cross_entropy, distilled_cross_entropy


def answer_text_losses(
    logits: Float[Array, "*b l v"],
    ids: Int[Array, "*b l"],
    mask: Bool[Array, "*b l"],
    teacher_logits: Float[Array, "*b l v"] | None = None,
    alpha: Array | float = 0.0,
) -> Float[Array, "*b"]:
    """Returns each answer's loss, SUMMED over its words after [CLS], with ALBEF's distillation."""
    own, words, counts = shifted(logits, ids, mask)
    if teacher_logits is None:
        losses = cross_entropy(own, words)
    else:
        soft, _, _ = shifted(teacher_logits, ids, mask)
        losses = distilled_cross_entropy(own, words, soft, alpha)
    return jnp.where(counts, losses, 0.0).sum(-1)


def weighted_answer_loss(
    losses: Float[Array, "*b"], weights: Float[Array, "*b"], questions: int
) -> Float[Array, ""]:
    """Returns Σ weight · loss over all answers of a batch of `questions`, over their number.

    A question's weights are the shares of its annotators' answers. Source: ALBEF, section 5, and
    `models/model_vqa.py`.
    """
    return (weights * losses).sum() / questions

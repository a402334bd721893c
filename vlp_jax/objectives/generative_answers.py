"""Visual question answering as writing: a decoder spells each answer (ALBEF section 5, VQA)."""

from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.heads.answer_decoder import shifted
from vlp_jax.layers.tokens import Fused
from vlp_jax.losses.answer_text import answer_text_losses, weighted_answer_loss
from vlp_jax.losses.momentum import Queue
from vlp_jax.model import VisionLanguageModel
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result
from vlp_jax.objectives.views import Views


def spelling_losses(
    model: VisionLanguageModel,
    fused: Fused,
    ids: Int[Array, "b k l"],
    mask: Bool[Array, "b k l"],
    teacher_logits: Float[Array, "b k l v"] | None = None,
    *,
    alpha: Array | float = 0.0,
    deterministic: bool = True,
) -> tuple[Float[Array, "b k"], Float[Array, "b k"], Float[Array, "b k"]]:
    """Returns of every answer the loss, the number of words predicted right, and that of words."""
    logits = model.answer_words(fused, ids, mask, deterministic=deterministic)
    losses = answer_text_losses(logits, ids, mask, teacher_logits, alpha)
    own, words, counts = shifted(logits, ids, mask)
    right = (jnp.argmax(own, -1) == words) & counts
    return losses, right.sum(-1, dtype=jnp.float32), counts.sum(-1, dtype=jnp.float32)


@OBJECTIVES.register("vqa_generative")
@dataclass(frozen=True)
class GenerativeAnswerObjective:
    """Write the answers to the question of each image, word by word.

    An answer's loss is the sum over its words and [SEP]; a question's that of its answers, times
    their `answer_weights`; the batch's the mean over questions. With a teacher and `alpha` > 0 each
    word's loss is (1-α)·CE(word) + α·CE(teacher). Word accuracy is with the true words before.
    """

    weight: float = 1.0
    alpha: float = 0.4

    reads = frozenset(
        {"question_ids", "question_mask", "answer_ids", "answer_mask", "answer_weights"}
    )
    metrics = ("answer_word_accuracy",)
    heads = ("answer",)

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        batch = views.batch
        answers = batch["answer_ids"], batch["answer_mask"]
        losses_of, taught = spelling_losses, ()
        if teacher is not None and self.alpha > 0:
            inputs = teacher.fused("question"), *answers
            taught = (teacher.run(VisionLanguageModel.answer_words, *inputs, name="spell"),)
            losses_of = partial(spelling_losses, alpha=ramp * self.alpha)
        losses, right, words = views.run(
            losses_of, views.fused("question"), *answers, *taught, name="spell"
        )
        loss = weighted_answer_loss(losses, batch["answer_weights"], views.size)
        accuracy = right.sum() / jnp.maximum(words.sum(), 1.0)
        return Result(loss, {"answer_word_accuracy": accuracy})

"""Visual question answering as classification over a closed list of answers."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.model import VisionLanguageModel
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result, divergence_terms, soft_cross_entropy
from vlp_jax.objectives.momentum import Queue
from vlp_jax.objectives.views import Views


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
        positive, negative = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
        return -(scores * positive + (1 - scores) * negative).sum(-1).mean()
    if form == "kl_unnormalised":
        return divergence_terms(logits, scores).sum(-1).mean()
    targets = scores / jnp.maximum(scores.sum(-1, keepdims=True), 1e-12)
    if form == "kl":
        return divergence_terms(logits, targets).sum(-1).mean()
    return soft_cross_entropy(logits, targets).mean()


@OBJECTIVES.register("vqa")
@dataclass(frozen=True)
class AnswerObjective:
    """Answer the question of each image; `form` is the loss, see `answer_loss`."""

    weight: float = 1.0
    form: Literal["bce", "ce", "kl", "kl_unnormalised"] = "bce"

    reads = frozenset({"question_ids", "question_mask", "answer_scores"})
    metrics = ("vqa_accuracy",)
    heads = ("vqa",)

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        scores = views.batch["answer_scores"]
        fused = views.fused("question")
        logits = views.run(VisionLanguageModel.answer_logits, fused, name="answer")
        chosen = jnp.take_along_axis(scores, jnp.argmax(logits, -1)[:, None], axis=-1)
        return Result(answer_loss(logits, scores, self.form), {"vqa_accuracy": chosen.mean()})

"""Visual question answering as classification over a closed list of answers."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.layers.tokens import Tokens
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
    """Answer the question of each image, or several; `form` is the loss, see `answer_loss`.

    With question fields [B, K, Q] the K questions share one pass of the vision encoder.
    """

    weight: float = 1.0
    form: Literal["bce", "ce", "kl", "kl_unnormalised"] = "bce"

    reads = frozenset({"question_ids", "question_mask", "answer_scores"})
    metrics = ("vqa_accuracy",)
    heads = ("vqa",)

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        scores = views.batch["answer_scores"]
        if scores.ndim == 3:
            ids, mask = views.batch["question_ids"], views.batch["question_mask"]
            logits = views.run(answer_several, ids, mask, views.image(), name="answers")
            logits, scores = (x.reshape(-1, x.shape[-1]) for x in (logits, scores))
        else:
            fused = views.fused("question")
            logits = views.run(VisionLanguageModel.answer_logits, fused, name="answer")
        chosen = jnp.take_along_axis(scores, jnp.argmax(logits, -1)[:, None], axis=-1)
        return Result(answer_loss(logits, scores, self.form), {"vqa_accuracy": chosen.mean()})


def answer_several(
    model: VisionLanguageModel,
    ids: Int[Array, "b k q"],
    mask: Bool[Array, "b k q"],
    image: Tokens,
    *,
    deterministic: bool = True,
) -> Float[Array, "b k a"]:
    """Returns the answer logits of K questions about each image."""
    batch, count = ids.shape[:2]
    joined = lambda x: x.reshape(batch * count, *x.shape[2:])
    text = model.encode_text(joined(ids), joined(mask), deterministic=deterministic)
    images = jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), image)
    fused = model.fuse(text, images, deterministic=deterministic)
    logits = model.answer_logits(fused, deterministic=deterministic)
    return logits.reshape(batch, count, -1)

"""Visual question answering as classification over a closed list of answers."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.momentum import Queue
from vlp_jax.model import VisionLanguageModel
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result
from vlp_jax.objectives.views import Views


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

"""Image-text contrastive learning with momentum queue and distillation (ALBEF section 3.2)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result, soft_cross_entropy
from vlp_jax.objectives.momentum import Queue
from vlp_jax.objectives.views import Views


def positives(
    ids: Int[Array, "b"], candidate_ids: Int[Array, "m"]
) -> Float[Array, "b m"]:
    """Returns rows of weights summing to one over the candidates that show the same image."""
    same = (ids[:, None] == candidate_ids[None]).astype(jnp.float32)
    return same / same.sum(-1, keepdims=True)


def contrastive_targets(
    hard: Float[Array, "b m"], teacher_logits: Float[Array, "b m"] | None, alpha: Array
) -> Float[Array, "b m"]:
    """Mixes the one-hot (or shared) targets with the teacher's distribution (equation 6)."""
    if teacher_logits is None:
        return hard
    return alpha * jax.nn.softmax(teacher_logits) + (1.0 - alpha) * hard


@OBJECTIVES.register("itc")
@dataclass(frozen=True)
class ContrastiveObjective:
    """Soft cross-entropy of image→text and text→image similarities, averaged.

    Candidates are the teacher's vectors of the whole (global) batch followed by the queue; without
    a teacher they are the batch's own vectors, with gradient. Captions of the same image, in the
    batch or the queue, are positives together. `alpha` scales the teacher's part.
    The temperature is clamped to `temperature_range` before each step, as ALBEF does in place.

    With `queue_ramp` a queue column counts as a fraction of one that grows with the distillation
    ramp. In the first steps encoders change so fast that old vectors can be told from new ones by
    their age alone, and a short run would learn nothing else.
    """

    weight: float = 1.0
    alpha: float = 0.4
    temperature_range: tuple[float, float] = (0.001, 0.5)
    queue_ramp: bool = False

    reads = frozenset({"text_ids", "text_mask", "image_id"})
    metrics = ("itc_accuracy", "temperature")
    heads = ("itc",)

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        image, text = views.vectors()
        ids = views.batch["image_id"]
        candidates = (image, text) if teacher is None else teacher.vectors()
        all_images, all_texts, all_ids = _with_queue(*candidates, ids, queue)
        hard = positives(ids, all_ids)
        temperature = views.temperature()
        counted = self._column_weights(len(ids), len(all_ids), ramp)
        loss = 0.0
        for own, own_teacher, others in (
            (image, candidates[0], all_texts),
            (text, candidates[1], all_images),
        ):
            soft = None if teacher is None else own_teacher @ others.T / temperature + counted
            targets = contrastive_targets(hard, soft, ramp * self.alpha)
            logits = own @ others.T / temperature + counted
            loss += soft_cross_entropy(logits, jax.lax.stop_gradient(targets)).mean() / 2
        accuracy = _in_batch_accuracy(views.similarities(), ids)
        enqueue = {} if teacher is None else dict(zip(("image", "text"), candidates), ids=ids)
        return Result(loss, {"itc_accuracy": accuracy, "temperature": temperature}, enqueue)

    def _column_weights(self, fresh: int, columns: int, ramp: Array) -> Float[Array, "m"]:
        """Returns what is added to each column's logits: 0, or the log of a queue column's share."""
        share = jnp.log(jnp.maximum(ramp, 1e-9)) if self.queue_ramp else 0.0
        return jnp.where(jnp.arange(columns) < fresh, 0.0, share)


def _with_queue(images: Array, texts: Array, ids: Array, queue: Queue | None) -> tuple:
    if queue is None:
        return images, texts, ids
    return (
        jnp.concatenate([images, queue.image]),
        jnp.concatenate([texts, queue.text]),
        jnp.concatenate([ids, queue.ids]),
    )


def _in_batch_accuracy(similarities: Float[Array, "b b"], ids: Int[Array, "b"]) -> Array:
    best = jnp.argmax(similarities, axis=-1)
    return (ids[best] == ids).astype(jnp.float32).mean()

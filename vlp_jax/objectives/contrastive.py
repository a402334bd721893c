"""Image-text contrastive learning with momentum queue and distillation (ALBEF section 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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


def contrastive_logits(
    vectors: tuple[Array, Array], columns: tuple[Array, Array], temperature: Array
) -> tuple[Float[Array, "b m"], Float[Array, "b m"]]:
    """Returns image→text and text→image similarities of (image, text) vectors, over temperature."""
    (image, text), (images, texts) = vectors, columns
    return image @ texts.T / temperature, text @ images.T / temperature


def contrastive_loss(logits: Sequence[Array], targets: Sequence[Array]) -> Float[Array, ""]:
    """Returns soft cross-entropy, the mean over rows and both directions; targets are fixed."""
    fixed = jax.lax.stop_gradient(tuple(targets))
    losses = [soft_cross_entropy(own, wanted).mean() for own, wanted in zip(logits, fixed)]
    return sum(losses) / 2


def with_queue(
    vectors: tuple[Array, Array], ids: Array, queue: Queue | None
) -> tuple[tuple[Array, Array], Array]:
    """Returns (images, texts) and their ids, the queue's behind the batch's."""
    if queue is None:
        return vectors, ids
    joined = zip(vectors, (queue.image, queue.text))
    return tuple(jnp.concatenate(pair) for pair in joined), jnp.concatenate([ids, queue.ids])


@OBJECTIVES.register("itc")
@dataclass(frozen=True)
class ContrastiveObjective:
    """Soft cross-entropy of image→text and text→image similarities, averaged.

    Columns are the teacher's vectors of the whole (global) batch followed by the queue; without
    a teacher they are the batch's own vectors, with gradient. Captions of the same image, in the
    batch or the queue, are positives together. `alpha` scales the teacher's part.
    The temperature is clamped to `temperature_range` before each step, as ALBEF does in place.

    `in_batch` = "online" takes the batch's columns from the model itself, with gradient, and leaves
    the teacher the queue and the soft targets; a short run learns faster so.

    With `queue_ramp` a queue column counts as a fraction of one that grows with the distillation
    ramp. In the first steps encoders change so fast that old vectors can be told from new ones by
    their age alone, and a short run would learn nothing else.
    """

    weight: float = 1.0
    alpha: float = 0.4
    temperature_range: tuple[float, float] = (0.001, 0.5)
    in_batch: Literal["teacher", "online"] = "teacher"
    queue_ramp: bool = False

    reads = frozenset({"text_ids", "text_mask", "image_id"})
    metrics = ("itc_accuracy", "temperature")
    heads = ("itc",)

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        own = views.vectors()
        ids = views.batch["image_id"]
        taught = own if teacher is None else teacher.vectors()
        fresh = own if self.in_batch == "online" else taught
        columns, all_ids = with_queue(fresh, ids, queue)
        soft_columns, _ = with_queue(taught, ids, queue)
        hard = positives(ids, all_ids)
        temperature = views.temperature()
        counted = self._column_weights(len(ids), len(all_ids), ramp)
        logits = [x + counted for x in contrastive_logits(own, columns, temperature)]
        soft = [None, None]
        if teacher is not None:
            soft = [x + counted for x in contrastive_logits(taught, soft_columns, temperature)]
        targets = [contrastive_targets(hard, x, ramp * self.alpha) for x in soft]
        loss = contrastive_loss(logits, targets)
        accuracy = _in_batch_accuracy(views.similarities(), ids)
        enqueue = {} if teacher is None else dict(zip(("image", "text"), taught), ids=ids)
        return Result(loss, {"itc_accuracy": accuracy, "temperature": temperature}, enqueue)

    def _column_weights(self, fresh: int, columns: int, ramp: Array) -> Float[Array, "m"]:
        """Returns what is added to each column's logits: 0, or the log of the queue's share."""
        share = jnp.log(jnp.maximum(ramp, 1e-9)) if self.queue_ramp else 0.0
        return jnp.where(jnp.arange(columns) < fresh, 0.0, share)


def _in_batch_accuracy(similarities: Float[Array, "b b"], ids: Int[Array, "b"]) -> Array:
    best = jnp.argmax(similarities, axis=-1)
    return (ids[best] == ids).astype(jnp.float32).mean()

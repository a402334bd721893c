"""Image-text contrastive loss over a batch and a queue (ALBEF section 3.2)."""

from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vlp_jax.losses.contrastive_forms import Form
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.similarity_blocks import Columns, Rows, Scale, compare

Both = tuple[Float[Array, "b w"], Float[Array, "b w"]]
LossOf = Callable[[Rows, Columns, Columns | None], Float[Array, ""]]


@flax.struct.dataclass
class Vectors:
    """The (image, text) vectors of a batch: of the rows, of the columns, and the teacher's."""

    own: Both
    fresh: Both
    taught: Both | None
    ids: Int[Array, "b"]


def contrastive_loss(
    loss_of: LossOf, vectors: Vectors, queue: Queue | None, queue_share: Array | float = 1.0
) -> Float[Array, ""]:
    """Returns the mean of `loss_of` images against texts and of texts against images."""
    taught = vectors.taught or (None, None)
    fresh = jnp.ones(len(vectors.ids))

    def direction(row: int, column: int) -> Float[Array, ""]:
        rows = Rows(vectors.own[row], taught[row], vectors.ids)
        columns = Columns(vectors.fresh[column], taught[column], vectors.ids, fresh)
        stored = None
        if queue is not None:
            others = (queue.image, queue.text)[column]
            share = jnp.full(len(others), queue_share, jnp.float32)
            soft = None if vectors.taught is None else others
            stored = Columns(others, soft, queue.ids, share)
        return loss_of(rows, columns, stored)

    return (direction(0, 1) + direction(1, 0)) / 2


def plain_loss(
    form: Form, rows: Rows, columns: Columns, queue: Columns | None, scale: Scale, alpha: Array
) -> Float[Array, ""]:
    """Returns the mean loss of rows against all columns, from one matrix of similarities."""
    return form.whole(compare(rows, columns.followed_by(queue), scale), alpha).mean()


def contrastive_logits(vectors: Both, columns: Both, temperature: Array) -> tuple[Array, Array]:
    """Returns image→text and text→image similarities of (image, text) vectors, over temperature."""
    scale, (image, text), (images, texts) = Scale(temperature, 0.0), vectors, columns
    return scale.logits(image, texts), scale.logits(text, images)


def mean_of_parts(
    vectors: Vectors, local: int | None, function: Callable[[Vectors], Array]
) -> Array:
    """Returns the mean of `function` of all parts of `local` rows; of the whole batch for None."""
    if local is None:
        return function(vectors)
    size = len(vectors.ids)
    if size % local:
        raise ValueError(
            f"local_batch = {local} of a contrastive task: a batch of {size} examples cannot "
            "be divided into parts of that size"
        )
    parts = jax.tree.map(lambda x: x.reshape(size // local, local, *x.shape[1:]), vectors)
    return jax.vmap(function)(parts).mean()


def in_batch_accuracy(
    image: Float[Array, "b w"], text: Float[Array, "b w"], ids: Int[Array, "b"]
) -> Float[Array, ""]:
    """Returns the share of images whose most similar text of the batch is of the same image."""
    best = jnp.argmax(image @ text.T, axis=-1)
    return (ids[best] == ids).astype(jnp.float32).mean()

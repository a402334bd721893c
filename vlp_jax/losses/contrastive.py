"""Image-text contrastive loss over a batch and a queue (ALBEF section 3.2)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vlp_jax.losses.contrastive_forms import Form
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.similarity_blocks import (
    Block,
    Columns,
    Scale,
    Side,
    compare,
    compare_both,
    similarities,
)

Both = tuple[Float[Array, "b w"], Float[Array, "b w"]]
# Images and texts of a batch; what of a queue images are compared with, and what texts are.
Sides = tuple[Side, Side]
Queues = tuple[Columns, Columns]


def make_sides(own: Both, taught: Both | None, ids: Int[Array, "b"], fresh: Both | None) -> Sides:
    """Returns both sides of a batch, from (image, text) vectors of each kind."""
    nothing = None, None
    image, text = zip(own, taught or nothing, (ids, ids), fresh or nothing)
    return Side(*image), Side(*text)


def make_queues(queue: Queue, taught: bool, share: Array | float = 1.0) -> Queues:
    """Returns the queue's texts and its images as columns that count `share` each."""
    shares = jnp.full(len(queue.ids), share, jnp.float32)
    columns = lambda vectors: Columns(vectors, vectors if taught else None, queue.ids, shares)
    return columns(queue.text), columns(queue.image)


def whole_blocks(sides: Sides, queues: Queues | None, scale: Scale) -> tuple[Block, Block]:
    """Returns images against all texts and texts against all images, those of the queue last."""
    there, back = (block.upright() for block in compare_both(*sides, scale))
    if queues is None:
        return there, back
    further, further_back = (compare(*compared, scale) for compared in zip(sides, queues))
    return there.followed_by(further), back.followed_by(further_back)


def plain_loss(
    form: Form, sides: Sides, queues: Queues | None, scale: Scale, alpha: Array
) -> Float[Array, ""]:
    """Returns the mean loss of both directions, from whole matrices of similarities."""
    there, back = (form.whole(block, alpha) for block in whole_blocks(sides, queues, scale))
    return (there.mean() + back.mean()) / 2


def contrastive_logits(vectors: Both, columns: Both, temperature: Array) -> tuple[Array, Array]:
    """Returns image→text and text→image similarities of (image, text) vectors, over temperature."""
    scale, (image, text), (images, texts) = Scale(temperature, 0.0), vectors, columns
    return scale.logits(image, texts), scale.logits(text, images)


def mean_of_parts(sides: Sides, local: int | None, function: Callable[[Sides], Array]) -> Array:
    """Returns the mean of `function` of all parts of `local` rows; of the whole batch for None."""
    if local is None:
        return function(sides)
    size = len(sides[0].ids)
    if size % local:
        raise ValueError(
            f"local_batch = {local} of a contrastive task: a batch of {size} examples cannot "
            "be divided into parts of that size"
        )
    parts = jax.tree.map(lambda x: x.reshape(size // local, local, *x.shape[1:]), sides)
    return jax.vmap(function)(parts).mean()


def in_batch_accuracy(
    image: Float[Array, "b w"], text: Float[Array, "b w"], ids: Int[Array, "b"]
) -> Float[Array, ""]:
    """Returns the share of images whose most similar text of the batch is of the same image."""
    best = jnp.argmax(similarities(image, text), axis=-1)
    return (ids[best] == ids).astype(jnp.float32).mean()

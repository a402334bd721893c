"""Contrastive losses by their formulas, from full matrices and without a trick."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vlp_jax.losses.contrastive import Queues, Sides
from vlp_jax.losses.contrastive_forms import Form, SigmoidForm
from vlp_jax.losses.similarity_blocks import Columns, Scale, Side


def dense_loss(
    form: Form, sides: Sides, queues: Queues | None, scale: Scale, alpha: Any
) -> Float[Array, ""]:
    """Returns the mean of both directions."""
    image, text = sides
    there, back = queues or (None, None)
    compared = (image, text, there), (text, image, back)
    return sum(_direction(form, *three, scale, alpha) for three in compared) / 2


def _direction(
    form: Form, rows: Side, side: Side, queue: Columns | None, scale: Scale, alpha: Any
) -> Float[Array, ""]:
    fresh = side.vectors if side.fresh is None else side.fresh
    columns = Columns(fresh, side.taught, side.ids, jnp.ones(len(side.ids)))
    if queue is not None:
        columns = jax.tree.map(lambda *x: jnp.concatenate(x), columns, queue)
    scaled = lambda a, b: a @ b.T / scale.temperature + scale.bias
    logits, taught = scaled(rows.vectors, columns.vectors), None
    if rows.taught is not None:
        taught = jax.lax.stop_gradient(scaled(rows.taught, columns.taught))
    same = rows.ids[:, None] == columns.ids[None]
    if isinstance(form, SigmoidForm):
        return _sigmoid(logits, taught, same, columns.share, alpha)
    return _softmax(logits, taught, same, columns.share, alpha, form.smoothing)


def _softmax(
    logits: Float[Array, "n m"],
    taught: Float[Array, "n m"] | None,
    same: Bool[Array, "n m"],
    share: Float[Array, "m"],
    alpha: Any,
    smoothing: float,
) -> Float[Array, ""]:
    chances = lambda x: share * jnp.exp(x) / (share * jnp.exp(x)).sum(-1, keepdims=True)
    targets = same * share / (same * share).sum(-1, keepdims=True)
    targets = (1 - smoothing) * targets + smoothing * share / share.sum()
    if taught is not None:
        targets = alpha * chances(taught) + (1 - alpha) * targets
    return -(targets * jnp.log(chances(logits))).sum(-1).mean()


def _sigmoid(
    logits: Float[Array, "n m"],
    taught: Float[Array, "n m"] | None,
    same: Bool[Array, "n m"],
    share: Float[Array, "m"],
    alpha: Any,
) -> Float[Array, ""]:
    chances = lambda x: 1 / (1 + jnp.exp(-x))
    targets = 1.0 * same
    if taught is not None:
        targets = alpha * chances(taught) + (1 - alpha) * targets
    right, wrong = jnp.log(chances(logits)), jnp.log(1 - chances(logits))
    return -(share * (targets * right + (1 - targets) * wrong)).sum(-1).mean()

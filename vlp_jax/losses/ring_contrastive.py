"""Contrastive losses whose columns go round the devices in blocks: no similarity matrix is kept.

A device holds its rows and one block of columns at a time. The backward pass sends the columns
round again, their gradients with them, and computes each block anew; between the passes only a few
numbers a row are kept. On one device the same blocks come from its own memory.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vlp_jax.losses.contrastive_forms import Form
from vlp_jax.losses.similarity_blocks import Columns, Rows, Scale, compare
from vlp_jax.parallel.ring import Axes, go_round, on_each_part

# Columns compared at once: enough for full matrix units, few enough to bound the memory.
BLOCK_COLUMNS = 512


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def ring_loss(
    form: Form,
    axes: Axes,
    rows: Rows,
    columns: Columns,
    queue: Columns | None,
    scale: Scale,
    alpha: Array,
) -> Float[Array, ""]:
    """Returns the mean loss of rows against the columns of all devices and the queue.

    Gradients reach the vectors of rows and columns and the scale, and nothing else.

    Args:
      form: which loss.
      axes: from `parallel.ring.ring_axes`, over which rows and columns are divided.
      rows, columns: of the whole batch.
      queue: more columns, of which every device holds all; without gradient.
      scale: temperature and bias.
      alpha: the teacher's part in the targets.
    """
    return _forward(form, axes, rows, columns, queue, scale, alpha)[0]


def _forward(form: Form, axes: Axes, *inputs: Any) -> tuple[Array, tuple]:
    """Returns the loss, and what the backward pass needs."""
    rows, columns, *whole = inputs

    def part(split: tuple, whole: tuple) -> tuple[Any, Array]:
        (rows, columns), (queue, scale, alpha) = split, whole

        def add(state: Any, block: Columns) -> tuple[Any, None]:
            return form.add(state, compare(rows, block, scale), alpha), None

        def meet(state: Any, visitor: Columns) -> tuple[Any, Columns]:
            return over_blocks(add, state, visitor)[0], visitor

        state, _ = go_round(meet, form.start(len(rows.ids)), columns, axes)
        if queue is not None:
            state, _ = over_blocks(add, state, queue)
        return state, form.losses(state, alpha).sum()

    state, total = on_each_part(part, (rows, columns), tuple(whole), axes)
    return total / len(rows.ids), (*inputs, state)


def _backward(form: Form, axes: Axes, saved: tuple, slope: Array) -> tuple:
    """Returns the gradients of all inputs; None where there is none."""
    rows, columns, *whole, state = saved

    def part(split: tuple, whole: tuple) -> tuple[tuple[Array, Array], Scale]:
        (rows, columns, state), (queue, scale, alpha) = split, whole

        def pull(gradients: tuple, block: Columns) -> tuple[tuple, Array]:
            def total(own: Array, others: Array, scale: Scale) -> Array:
                compared = compare(rows.replace(vectors=own), block.replace(vectors=others), scale)
                return form.surrogate(state, compared, alpha)

            found = jax.grad(total, argnums=(0, 1, 2))(rows.vectors, block.vectors, scale)
            return jax.tree.map(jnp.add, gradients, (found[0], found[2])), found[1]

        def meet(gradients: tuple, visitor: tuple) -> tuple[tuple, tuple]:
            columns, so_far = visitor
            gradients, more = over_blocks(pull, gradients, columns)
            return gradients, (columns, so_far + more)

        gradients = jax.tree.map(jnp.zeros_like, (rows.vectors, scale))
        visitor = columns, jnp.zeros_like(columns.vectors)
        gradients, (_, to_columns) = go_round(meet, gradients, visitor, axes)
        if queue is not None:
            without_output = lambda gradients, block: (pull(gradients, block)[0], None)
            gradients, _ = over_blocks(without_output, gradients, queue)
        to_rows, to_scale = gradients
        return (to_rows, to_columns), to_scale

    gradients = on_each_part(part, (rows, columns, state), tuple(whole), axes)
    (to_rows, to_columns), to_scale = jax.tree.map(lambda x: x * slope / len(rows.ids), gradients)
    return Rows(to_rows, None, None), Columns(to_columns, None, None, None), None, to_scale, None


ring_loss.defvjp(_forward, _backward)


def ring_accuracy(
    image: Float[Array, "b w"], text: Float[Array, "b w"], ids: Int[Array, "b"], axes: Axes
) -> Float[Array, ""]:
    """Returns the share of images whose nearest text of the batch shows the same image."""

    def part(split: tuple, _: tuple) -> tuple[tuple, Array]:
        image, ids, texts = split

        def look(best: tuple, block: Columns) -> tuple[tuple, None]:
            similarities = jnp.where(block.share > 0, image @ block.vectors.T, -jnp.inf)
            found = similarities.max(-1), block.ids[jnp.argmax(similarities, -1)]
            better = found[0] > best[0]
            return tuple(jnp.where(better, new, old) for new, old in zip(found, best)), None

        nothing = jnp.full(len(ids), -jnp.inf), jnp.zeros_like(ids)
        meet = lambda best, visitor: (over_blocks(look, best, visitor)[0], visitor)
        (_, nearest), _ = go_round(meet, nothing, texts, axes)
        return (), (nearest == ids).sum()

    texts = Columns(text, None, ids, jnp.ones(len(ids)))
    split = jax.lax.stop_gradient((image, ids, texts))
    return on_each_part(part, split, (), axes)[1] / len(ids)


def over_blocks(
    step: Callable[[Any, Columns], tuple[Any, Any]], carry: Any, columns: Columns
) -> tuple[Any, Any]:
    """Scans `step(carry, block)` over blocks of the columns; returns the carry and all outputs.

    A step gives an output row for each column, or None. Blocks are of equal length; what fills up
    the last one has a share of zero.
    """
    count = len(columns.ids)
    blocks = math.ceil(count / BLOCK_COLUMNS)
    if blocks <= 1:
        return step(carry, columns)
    length = math.ceil(count / blocks)
    missing = blocks * length - count

    def divided(x: Array) -> Array:
        filled = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
        return filled.reshape(blocks, length, *x.shape[1:])

    carry, outputs = jax.lax.scan(step, carry, jax.tree.map(divided, columns))
    joined = lambda x: x.reshape(blocks * length, *x.shape[2:])[:count]
    return carry, jax.tree.map(joined, outputs)

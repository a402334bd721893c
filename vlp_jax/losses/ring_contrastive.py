"""Contrastive losses whose texts go round the devices in blocks: no similarity matrix is kept.

A device holds its images and is visited by one block of texts at a time; what is computed of the
two serves images among texts and texts among images. The backward pass sends the texts round again,
their gradients with them, and computes each block anew; between the passes only a few numbers a row
are kept. On one device the same blocks come from its own memory.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vlp_jax.losses.contrastive import Queues, Sides
from vlp_jax.losses.contrastive_forms import Form
from vlp_jax.losses.similarity_blocks import (
    Columns,
    Scale,
    Side,
    compare,
    compare_both,
    similarities,
)
from vlp_jax.parallel.ring import Axes, go_round, on_each_part

# Texts compared at once: enough for full matrix units, few enough to bound the memory. They are of
# float32; of 16 bits it is twice as many, since gradients of their similarities are half as large.
BLOCK_COLUMNS = 512


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def ring_loss(
    form: Form, axes: Axes, sides: Sides, queues: Queues | None, scale: Scale, alpha: Array
) -> Float[Array, ""]:
    """Returns the mean loss of images among all texts and of texts among all images.

    Gradients reach the own vectors of both sides and the scale, and nothing else.

    Args:
      form: which loss.
      axes: from `parallel.ring.ring_axes`, over which both sides are divided.
      sides: images and texts of the whole batch.
      queues: more columns for each side, of which every device holds all.
      scale: temperature and bias.
      alpha: the teacher's part in the targets.
    """
    return _forward(form, axes, sides, queues, scale, alpha)[0]


def _forward(form: Form, axes: Axes, sides: Sides, *whole: Any) -> tuple[Array, tuple]:
    """Returns the loss, and what the backward pass needs."""

    def part(sides: Sides, whole: tuple) -> tuple[Any, Array]:
        (images, texts), (queues, scale, alpha) = sides, whole

        def add(state: Any, visitor: tuple) -> tuple[Any, Any]:
            block, seen = visitor
            there, back = compare_both(images, block, scale)
            return form.add(state, there, alpha), form.add(seen, back, alpha)

        def meet(state: Any, visitor: tuple) -> tuple[Any, tuple]:
            state, seen = over_blocks(add, state, visitor)
            return state, (visitor[0], seen)

        def add_queue(side: Side, state: Any, queue: Columns) -> Any:
            step = lambda state, block: (form.add(state, compare(side, block, scale), alpha), None)
            return over_blocks(step, state, queue)[0]

        start = form.start(len(images.ids))
        state, (_, seen) = go_round(meet, start, (texts, start), axes)
        states = state, seen
        if queues is not None:
            states = tuple(map(add_queue, sides, states, queues))
        return states, sum(form.losses(state, alpha).sum() for state in states)

    states, total = on_each_part(part, sides, whole, axes)
    return total / _terms(sides), (sides, *whole, states)


def _backward(form: Form, axes: Axes, saved: tuple, slope: Array) -> tuple:
    """Returns the gradients of all inputs; None where there is none."""
    sides, *whole, states = saved

    def part(split: tuple, whole: tuple) -> tuple[tuple[Array, Array], Scale]:
        ((images, texts), (state, seen)), (queues, scale, alpha, slope) = split, whole

        def pulled(total: Callable, gradients: tuple, own: Array, *others: Array) -> tuple:
            to_own, to_scale, *to_others = jax.vjp(total, own, scale, *others)[1](slope)
            return jax.tree.map(jnp.add, gradients, (to_own, to_scale)), to_others

        def pull(gradients: tuple, visitor: tuple) -> tuple[tuple, list]:
            block, seen = visitor

            def total(own: Array, scale: Scale, others: Array) -> Array:
                pair = images.replace(vectors=own), block.replace(vectors=others)
                there, back = compare_both(*pair, scale)
                return form.surrogate(state, there, alpha) + form.surrogate(seen, back, alpha)

            return pulled(total, gradients, images.vectors, block.vectors)

        def meet(gradients: tuple, visitor: tuple) -> tuple[tuple, tuple]:
            *compared, so_far = visitor
            gradients, (more,) = over_blocks(pull, gradients, tuple(compared))
            return gradients, (*compared, so_far + more)

        def pull_queue(gradients: tuple, side: Side, state: Any, queue: Columns) -> tuple:
            def step(gradients: tuple, block: Columns) -> tuple[tuple, list]:
                def total(own: Array, scale: Scale) -> Array:
                    compared = compare(side.replace(vectors=own), block, scale)
                    return form.surrogate(state, compared, alpha)

                return pulled(total, gradients, side.vectors)

            return over_blocks(step, gradients, queue)[0]

        gradients = _summed(images.vectors), jax.tree.map(jnp.zeros_like, scale)
        visitor = texts, seen, _summed(texts.vectors)
        (to_images, to_scale), (*_, to_texts) = go_round(meet, gradients, visitor, axes)
        if queues is not None:
            to_images, to_scale = pull_queue((to_images, to_scale), images, state, queues[0])
            to_texts, to_scale = pull_queue((to_texts, to_scale), texts, seen, queues[1])
        return (to_images, to_texts), to_scale

    inputs = (sides, states), (*whole, slope / _terms(sides))
    to_vectors, to_scale = on_each_part(part, *inputs, axes)
    of_type = lambda to, side: to.astype(side.vectors.dtype)
    to_sides = (Side(of_type(*pair), None, None, None) for pair in zip(to_vectors, sides))
    return tuple(to_sides), None, to_scale, None


def _summed(vectors: Array) -> Array:
    """Returns zeros to which gradients of vectors are added, in float32 at least."""
    return jnp.zeros(vectors.shape, jnp.promote_types(vectors.dtype, jnp.float32))


def _terms(sides: Sides) -> int:
    """Returns of how many losses of single rows the mean is taken."""
    return sum(len(side.ids) for side in sides)


ring_loss.defvjp(_forward, _backward)


def ring_accuracy(
    image: Float[Array, "b w"], text: Float[Array, "b w"], ids: Int[Array, "b"], axes: Axes
) -> Float[Array, ""]:
    """Returns the share of images whose nearest text of the batch shows the same image."""

    def part(split: tuple, _: tuple) -> tuple[tuple, Array]:
        image, ids, texts = split

        def look(best: tuple, block: tuple) -> tuple[tuple, None]:
            alike = similarities(image, block[0])
            found = alike.max(-1), block[1][jnp.argmax(alike, -1)]
            better = found[0] > best[0]
            return tuple(jnp.where(better, new, old) for new, old in zip(found, best)), None

        nothing = jnp.full(len(ids), -jnp.inf), jnp.zeros_like(ids)
        meet = lambda best, visitor: (over_blocks(look, best, visitor)[0], visitor)
        (_, nearest), _ = go_round(meet, nothing, texts, axes)
        return (), (nearest == ids).sum()

    split = jax.lax.stop_gradient((image, ids, (text, ids)))
    return on_each_part(part, split, (), axes)[1] / len(ids)


def over_blocks(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, columns: Any
) -> tuple[Any, Any]:
    """Scans `step(carry, block)` over blocks of the columns; returns the carry and all outputs.

    `columns` and what a step gives are trees of arrays with a row for each column; the first of
    `columns` are its vectors. All blocks but the last are of equal length.
    """
    vectors = jax.tree.leaves(columns)[0]
    count, most = len(vectors), BLOCK_COLUMNS * (2 if vectors.dtype.itemsize < 4 else 1)
    length = math.ceil(count / math.ceil(count / most))
    if length == count:
        return step(carry, columns)
    full = count // length
    cut = lambda x: x[: full * length].reshape(full, length, *x.shape[1:])
    carry, outputs = jax.lax.scan(step, carry, jax.tree.map(cut, columns))
    outputs = jax.tree.map(lambda x: x.reshape(full * length, *x.shape[2:]), outputs)
    if full * length == count:
        return carry, outputs
    carry, last = step(carry, jax.tree.map(lambda x: x[full * length :], columns))
    return carry, jax.tree.map(lambda *x: jnp.concatenate(x), outputs, last)

"""A loss of the marked rows of a batch, of which shapes do not say how many there are.

Marked rows are brought to the front and read in groups of fixed size, as many groups as hold them:
nearly always one. Value and gradient of a group are computed at once, so that what is large in
between, such as logits over a vocabulary, exists for one group and is not kept.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

GroupLoss = Callable[[Array, Any, Array], tuple[Array, Any]]


def group_size(rows: int, share: float) -> int:
    """Returns how many rows a group needs to hold those of nearly every draw of `share` of `rows`.

    That is three deviations above the mean, a multiple of 8 and no more than `rows`.
    """
    mean = rows * share
    enough = math.ceil((mean + 3 * math.sqrt(mean * (1 - share))) / 8) * 8
    return max(min(enough, rows), 1)


def sum_over_marked(
    function: GroupLoss,
    states: Float[Array, "b l d"],
    others: Any,
    marked: Bool[Array, "b l"],
    share: float,
    parts: int = 1,
) -> tuple[Float[Array, ""], Any]:
    """Returns the sums of what `function` gives for groups that hold every marked row once.

    Args:
      function: (states [P, S, D], others [P, S, ...], counted [P, S]) -> (loss, other sums); rows
        that are not counted fill up a group. Gradients reach what it closes over, from the loss.
      states: what is differentiated; others: a tree [B, L, ...] that is not.
      share: the expected share of marked rows, for the size S of a group.
      parts: into how many parts [P] the batch is cut; rows stay in their part.
    """
    marked = marked.reshape(parts, -1)
    size = group_size(marked.shape[1], share)
    order = jnp.argsort(~marked, axis=1, stable=True)
    order = jnp.pad(order, ((0, 0), (0, -marked.shape[1] % size)))
    counts = marked.sum(1, keepdims=True)

    def group(index: Int[Array, ""], states: Array) -> tuple[Array, Any]:
        rows = jax.lax.dynamic_slice_in_dim(order, index * size, size, axis=1)
        counted = index * size + jnp.arange(size) < counts
        picked, fixed = jax.tree.map(partial(_pick, rows), (states, others))
        return function(picked, fixed, counted)

    closed, weights = jax.closure_convert(group, jnp.zeros((), int), states)
    groups = jnp.max((counts + size - 1) // size)
    return _sum_of_groups(closed, groups, states, tuple(weights))


def _pick(rows: Int[Array, "p s"], x: Array) -> Array:
    parted = x.reshape(len(rows), -1, *x.shape[2:])
    return jnp.take_along_axis(parted, rows.reshape(*rows.shape, *(1,) * (x.ndim - 2)), axis=1)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum_of_groups(group: Callable, groups: Array, states: Array, weights: tuple) -> Any:
    zero = jax.eval_shape(group, jnp.zeros((), int), states, *weights)
    add = lambda i, total: jax.tree.map(jnp.add, total, group(i, states, *weights))
    return jax.lax.fori_loop(0, groups, add, jax.tree.map(jnp.zeros_like, zero))


def _with_gradient(group: Callable, groups: Array, states: Array, weights: tuple) -> Any:
    """Returns the sums, and the gradient of the loss in states and weights."""
    inputs = tuple(range(1, 2 + len(weights)))
    both = jax.value_and_grad(group, argnums=inputs, has_aux=True)
    zero = jax.eval_shape(both, jnp.zeros((), int), states, *weights)
    add = lambda i, total: jax.tree.map(jnp.add, total, both(i, states, *weights))
    return jax.lax.fori_loop(0, groups, add, jax.tree.map(jnp.zeros_like, zero))


def _scaled(group: Callable, gradients: tuple, slopes: tuple) -> tuple:
    del group
    to_states, *to_weights = (x * slopes[0].astype(x.dtype) for x in gradients)
    return None, to_states, tuple(to_weights)


_sum_of_groups.defvjp(_with_gradient, _scaled)

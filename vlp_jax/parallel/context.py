"""Enters a mesh with its rules, and constrains activations by logical names inside of it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh

from vlp_jax.parallel.rules import (
    BATCH_AXES,
    DEFAULT_RULES,
    Rules,
    check_rules,
    partition_spec,
    split_ways,
    validate,
)


@contextlib.contextmanager
def use_mesh(mesh: Mesh, rules: Rules = DEFAULT_RULES) -> Iterator[Mesh]:
    """Makes `mesh` and `rules` current: `constrain` and boxed parameters follow them inside.

    Both are needed: Flax ignores constraints without rules, and looks at `jax.set_mesh` only, not
    at the older `with mesh:`.

    Raises:
      ValueError: if a rule names an axis the mesh does not have.
    """
    check_rules(rules, mesh)
    with jax.set_mesh(mesh), nn.logical_axis_rules(rules):
        yield mesh


def unconstrained() -> contextlib.AbstractContextManager:
    """Lets `constrain` do nothing, for what every process computes and reads as a whole."""
    return nn.logical_axis_rules(())


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Fixes the sharding of an activation: one logical name, or None for whole, per dimension.

    Returns `x` itself outside of `use_mesh` and in `unconstrained`. A dimension that does not
    divide is kept whole, as for parameters.

    Raises:
      ValueError: for an unknown name, a mesh axis on two dimensions, or a wrong number of names.
    """
    if len(names) != x.ndim:
        raise ValueError(f"constrain: {len(names)} names {names} for an array of shape {x.shape}")
    mesh, rules = jax.sharding.get_abstract_mesh(), tuple(nn.get_logical_axis_rules())
    if mesh.empty or not rules:
        return x
    validate({"constrain": names}, rules, mesh, {"constrain": x.shape})
    spec, _ = partition_spec(names, x.shape, rules, mesh)
    divisible = tuple(n if entry is not None else None for n, entry in zip(names, spec))
    return nn.with_logical_constraint(x, divisible, fallback=nn.spmd.RulesFallback.RAISE_ERROR)


def on_batch_axes(tree: Any) -> Any:
    """Fixes the sharding of activations [B, ...]: axis 0 over the batch's axes, the rest whole.

    An axis 0 that does not divide is left to the compiler; so is all outside of `use_mesh`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not set(BATCH_AXES) <= set(mesh.axis_names):
        return tree
    ways = split_ways(BATCH_AXES, mesh)
    fixed = lambda x: constrain(x, "batch", *[None] * (x.ndim - 1))
    return jax.tree.map(lambda x: x if x.ndim < 1 or x.shape[0] % ways else fixed(x), tree)

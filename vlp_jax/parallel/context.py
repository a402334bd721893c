"""Enters a mesh with its rules, and constrains activations by logical names inside of it."""

import contextlib
from collections.abc import Iterator

import flax.linen as nn
import jax
from jax.sharding import Mesh

from vlp_jax.parallel.rules import DEFAULT_RULES, Rules, check_rules, partition_spec, validate


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


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Fixes the sharding of an activation: one logical name, or None for whole, per dimension.

    Returns `x` itself outside of `use_mesh`. A dimension that does not divide is kept whole, as
    for parameters.

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

"""Turns logical axis names on a tree of parameters into shardings, and says what it did."""

import math
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vlp_jax.parallel.mesh import describe_mesh
from vlp_jax.parallel.report import ParameterSharding, ShardingReport
from vlp_jax.parallel.rules import DEFAULT_RULES, Names, Rules, axes_of, partition_spec, validate


def shardings_for(
    tree: Any, mesh: Mesh, rules: Rules = DEFAULT_RULES
) -> tuple[Any, ShardingReport]:
    """Returns a sharding for every leaf of an annotated (abstract) tree, and a report.

    `tree` is what `jax.eval_shape(module.init, ...)` returns: arrays or shapes in
    `nn.LogicallyPartitioned` boxes. The shardings have the structure of `unbox(tree)`. A leaf
    without a box, and a dimension that does not divide, is replicated; the report names both.

    Raises:
      ValueError: for unknown logical names or mesh axes, a mesh axis used twice in one parameter,
        or a wrong number of names; see `rules.validate`.
    """
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_box)
    leaves = {_path_text(path): leaf for path, leaf in flat}
    names = {path: leaf.names for path, leaf in leaves.items() if _is_box(leaf)}
    values = unbox(leaves)
    validate(names, rules, mesh, {path: value.shape for path, value in values.items()})
    parameters = tuple(
        _describe(path, value, names.get(path), mesh, rules) for path, value in values.items()
    )
    structure = jax.tree.structure(unbox(tree))
    shardings = structure.unflatten([NamedSharding(mesh, p.spec) for p in parameters])
    report = ShardingReport(describe_mesh(mesh), parameters, _unused_rules(rules, names.values()))
    return shardings, report


def shardings_like(params_shardings: Any, tree: Any) -> Any:
    """Returns shardings for a tree that holds parameter-shaped parts, such as optimizer state.

    A leaf takes a parameter's sharding if its path ends with that parameter's path (`mu` and `nu`
    of Adam, momentum copies) and the sharding fits its shape; every other leaf (counters, PRNG
    keys, factored moments, queues) is replicated. Both trees are unboxed, `tree` may be abstract.
    """
    flat, _ = jax.tree_util.tree_flatten_with_path(params_shardings)
    if not flat:
        raise ValueError("params_shardings has no leaves; expected one sharding per parameter")
    by_path = {_path_parts(path): sharding for path, sharding in flat}
    replicated = NamedSharding(flat[0][1].mesh, PartitionSpec())
    deepest = max(map(len, by_path))

    def choose(path: tuple, leaf: Any) -> NamedSharding:
        parts = _path_parts(path)
        for length in range(min(deepest, len(parts)), 0, -1):
            sharding = by_path.get(parts[-length:])
            if sharding is not None and _fits(sharding, leaf.shape):
                return sharding
        return replicated

    return jax.tree_util.tree_map_with_path(choose, tree)


def replicated(tree: Any, mesh: Mesh) -> Any:
    """Returns the global arrays of a tree whole on every device; all processes must call it."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def unbox(tree: Any) -> Any:
    """Takes every array or shape out of its box.

    `flax.linen.unbox` would constrain what it takes out, which fails for shapes inside of a mesh.
    """
    return jax.tree.map(
        lambda leaf: leaf.unbox(apply_constraint=False) if _is_box(leaf) else leaf,
        tree,
        is_leaf=_is_box,
    )


def _is_box(leaf: Any) -> bool:
    return isinstance(leaf, nn.Partitioned)


def _path_parts(path: tuple) -> tuple[str, ...]:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _path_text(path: tuple) -> str:
    return "/".join(_path_parts(path))


def _describe(
    path: str, value: Any, names: Names | None, mesh: Mesh, rules: Rules
) -> ParameterSharding:
    bare = (None,) * len(value.shape)
    spec, fallbacks = partition_spec(names or bare, value.shape, rules, mesh)
    shard = NamedSharding(mesh, spec).shard_shape(tuple(value.shape))
    item_bytes = value.dtype.itemsize
    return ParameterSharding(
        path=path,
        shape=tuple(value.shape),
        spec=spec,
        bytes=math.prod(value.shape) * item_bytes,
        device_bytes=math.prod(shard) * item_bytes,
        fallbacks=fallbacks,
        annotated=names is not None,
    )


def _unused_rules(rules: Rules, names_used: Any) -> tuple[str, ...]:
    # "batch" is the name of activations; a rule that maps to nothing has no effect to miss.
    used = {name for names in names_used for name in names} | {"batch"}
    return tuple(name for name, axes in rules if axes_of(axes) and name not in used)


def _fits(sharding: NamedSharding, shape: tuple[int, ...]) -> bool:
    if len(sharding.spec) != len(shape):
        return False
    ways = (math.prod(sharding.mesh.shape[a] for a in axes_of(entry)) for entry in sharding.spec)
    return all(size % way == 0 for size, way in zip(shape, ways))

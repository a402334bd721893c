"""The table from logical axis names to mesh axes, and the checks that keep it honest.

Flax maps a misspelt name to "replicated" and drops a mesh axis used twice, both without a word.
Here the first two are errors, and an indivisible dimension is replicated and reported.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from vlp_jax.config import nearest

Names = tuple[str | None, ...]
MeshAxes = str | tuple[str, ...] | None
Rules = tuple[tuple[str, MeshAxes], ...]

BATCH_AXES = ("data", "fsdp")

DEFAULT_RULES: Rules = (
    ("batch", BATCH_AXES),
    ("embed", "fsdp"),
    ("mlp", "tensor"),
    ("heads", "tensor"),
    ("vocab", "tensor"),
    ("kv", None),
    ("layers", None),
    ("patch", None),
    ("length", None),
    ("region", None),
    ("classes", None),
    ("norm", None),
    ("queue", None),
)


def validate(
    names_used: Mapping[str, Names],
    rules: Rules,
    mesh: Mesh | AbstractMesh,
    shapes: Mapping[str, Sequence[int]],
) -> None:
    """Checks the rules against a mesh, and every array's names against rules and shape.

    Args:
      names_used: for each array's path, one logical name (or None) per dimension.
      shapes: for each array's path, its shape.

    Raises:
      ValueError: lists every unknown name, missing mesh axis, wrong number of names and mesh axis
        that one array would use twice.
    """
    check_rules(rules, mesh)
    table = dict(rules)
    problems = [
        f"{path}: {problem}"
        for path, names in names_used.items()
        for problem in _problems(names, shapes[path], table)
    ]
    if problems:
        shown = problems[:10] + [f"... and {len(problems) - 10} more"] * (len(problems) > 10)
        raise ValueError("logical axis names do not fit the rules:\n  " + "\n  ".join(shown))


def check_rules(rules: Rules, mesh: Mesh | AbstractMesh) -> None:
    """Raises ValueError if a name has two rules, or a rule names an axis the mesh does not have."""
    seen = set()
    for name, axes in rules:
        if name in seen:
            raise ValueError(f'logical axis "{name}" has two rules; expected one')
        seen.add(name)
        for axis in axes_of(axes):
            if axis not in mesh.axis_names:
                raise ValueError(
                    f'rule "{name}" -> {axes!r}: the mesh has no axis "{axis}".'
                    f"{nearest(axis, mesh.axis_names)} Its axes: {', '.join(mesh.axis_names)}"
                )


def partition_spec(
    names: Names, shape: Sequence[int], rules: Rules, mesh: Mesh | AbstractMesh
) -> tuple[PartitionSpec, tuple[str, ...]]:
    """Returns the mesh axes of each dimension, and a sentence per dimension that cannot be split.

    The spec has one entry per dimension. `names` must have passed `validate`.
    """
    table, entries, fallbacks = dict(rules), [], []
    for index, (name, size) in enumerate(zip(names, shape)):
        axes = table[name] if name is not None else None
        ways = split_ways(axes, mesh)
        if size % ways:
            fallbacks.append(f'dimension {index} "{name}" of size {size} by {axes!r}={ways}')
            axes = None
        entries.append(axes)
    return PartitionSpec(*entries), tuple(fallbacks)


def axes_of(entry: MeshAxes) -> tuple[str, ...]:
    """Returns the mesh axes of one entry of a rule or a partition spec as a tuple."""
    if entry is None:
        return ()
    return (entry,) if isinstance(entry, str) else tuple(entry)


def split_ways(entry: MeshAxes, mesh: Mesh | AbstractMesh) -> int:
    """Returns into how many parts `entry` splits a dimension on `mesh`."""
    return math.prod(mesh.shape[axis] for axis in axes_of(entry))


def _problems(names: Names, shape: Sequence[int], table: Mapping[str, MeshAxes]) -> Iterator[str]:
    if len(names) != len(shape):
        yield f"{len(names)} names {names} for the {len(shape)} dimensions of shape {tuple(shape)}"
    for name in names:
        if name is not None and name not in table:
            yield f'unknown logical axis "{name}".{nearest(name, table)} Known: {", ".join(table)}'
    owner: dict[str, str] = {}
    for name in names:
        for axis in axes_of(table.get(name)):
            if axis in owner:
                yield (
                    f'names {names} put mesh axis "{axis}" on two dimensions '
                    f'("{owner[axis]}" and "{name}"); use None for one of them'
                )
            owner[axis] = name

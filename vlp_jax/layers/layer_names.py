"""Names of single layers in stacked arrays: a view in which each layer is a sub-tree of its own.

"text/layer_3/norm/scale" is slice 3 of "text/layers/norm/scale", "fusion/text_layer_0/…" the first
of "fusion/text_layers/…". Published files, patterns of users and reports speak of layers so; the
model's arrays are stacked. Stacks stand directly under a part of the model, which keeps other
numbers, such as those of ResNet's convolutions, out of this.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

_PART = r"(?:vision|text|fusion|pooler|heads_\w+)/"
_STACK = re.compile(rf"({_PART}(?:\w+_)?)layers/(.+)")
_LAYER = re.compile(rf"({_PART}(?:\w+_)?)layer_(\d+)/(.+)")


def is_stacked(path: str) -> bool:
    """Says whether the array at `path` has a leading axis of layers."""
    return _STACK.fullmatch(path) is not None


def layer_paths(path: str, shape: Sequence[int]) -> tuple[str, ...]:
    """Returns the names of the slices of a stacked array, or the one name of another array."""
    found = _STACK.fullmatch(path)
    if not found:
        return (path,)
    return tuple(f"{found[1]}layer_{i}/{found[2]}" for i in range(shape[0]))


def stacked_path(path: str) -> tuple[str, int] | None:
    """Returns the stacked array and the index that a layer's name means; None for other names."""
    found = _LAYER.fullmatch(path)
    return (f"{found[1]}layers/{found[3]}", int(found[2])) if found else None


def split_layers(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arrays (or shapes) by path with every stacked one cut into its layers."""
    split = {}
    for path, array in flat.items():
        if not is_stacked(path):
            split[path] = array
            continue
        for i, name in enumerate(layer_paths(path, array.shape)):
            split[name] = _slice(array, i)
    return split


def stack_layers(flat: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns arrays by path with layers stacked: the inverse of `split_layers`.

    Raises ValueError if a layer is missing among others.
    """
    stacked, layers = {}, {}
    for path, array in flat.items():
        where = stacked_path(path)
        if where is None:
            stacked[path] = array
        else:
            layers.setdefault(where[0], {})[where[1]] = array
    for path, slices in layers.items():
        missing = set(range(len(slices))) - slices.keys()
        if missing:
            names = layer_paths(path, (max(slices) + 1,))
            raise ValueError(f"{names[min(missing)]} is missing, though there is {names[-1]}")
        stacked[path] = np.stack([slices[i] for i in range(len(slices))])
    return stacked


def _slice(array: Any, index: int) -> Any:
    if isinstance(array, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(array.shape[1:], array.dtype)
    return array[index]

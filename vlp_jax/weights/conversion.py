"""Applies a key table: published tensors to our parameters, and parameters (or gradients) back.

Files have a tensor for each layer, our arrays are stacked: tables name the layers one by one
("text/layer_0/…"), and what is stacked is cut and joined here (`vlp_jax.layers.layer_names`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vlp_jax.config import nearest
from vlp_jax.layers.layer_names import split_layers, stack_layers
from vlp_jax.weights.key_table import Entry, KeyTable

State = Mapping[str, np.ndarray]

_NAMES_SHOWN = 6

# Parameters that are divided by, themselves or their roots.
_POSITIVE = ("/temperature", "/variance")

# Which config field decides the size of a parameter; the first pattern that matches is named.
_FIELDS = (
    (r"text/word/|heads_mlm/bias", "text_args.vocab_size"),
    (r"text/position/", "text_args.max_length"),
    (r"text/type/", "text_args.types"),
    (r"vision/positions", "vision_args.image_size"),
    (r"vision/patch_embedding/", "vision_args.patch_size or vision_args.width"),
    (r"vision/feature_projection/", "vision_args.feature_width or vision_args.width"),
    (r"vision/box_projection/", "vision_args.boxes or vision_args.width"),
    (r"(vision|text|fusion)/.*(expand|contract)/", r"\1_args.mlp_width or the encoders' width"),
    (r"(vision|text|fusion)/.*attention/", r"\1_args.heads or the encoders' width"),
    (r"(vision|text|fusion|pooler)/", r"\1_args.width"),
    (r"heads_(\w+)/", r"heads.\1"),
)


def to_params(state: State, table: KeyTable, shapes: Mapping | None = None) -> dict[str, Any]:
    """Returns the nested parameter tree, float32, that the published tensors fill.

    Arrays outside of stacks stay views of `state` wherever the layout allows; those of layers are
    copied once, into the stacks.

    Args:
      state: published name -> array, of any floating dtype.
      table: which tensor is which parameter.
      shapes: the model's parameter tree (arrays or shapes); it makes shape errors possible to
        explain and shows parameters that the table forgets.

    Raises:
      ValueError: one message with every missing, unknown, misshapen and contradictory tensor.
    """
    flat = None if shapes is None else layers_apart(shapes)
    _check(state, table, flat)
    check_values(table.entries, state)
    params: dict[str, np.ndarray] = {}
    for entry in table.entries:
        array = np.asarray(state[present_name(entry, state)], np.float32)
        params.update(zip(entry.ours, entry.to_ours(array)))
    return unflatten_dict(stack_layers(params), sep="/")


def to_published(params: Mapping, table: KeyTable, like: State | None = None) -> dict[str, Any]:
    """Returns parameters, or their gradients, under the published names and in that layout.

    Tied tensors are written under each of their names. With `like`, the state that the parameters
    came from, the result has exactly its keys and dtypes, with what the model does not compute
    with carried over: after `to_params` without a change it is equal bit by bit.
    """
    flat = layers_apart(jax.tree.map(np.asarray, dict(params)))
    written = {}
    for entry in table.entries:
        array = entry.to_published(*(flat[path] for path in entry.ours))
        written.update((name, array) for name in entry.published)
    if like is None:
        return written
    return {
        name: written[name].astype(old.dtype, copy=False) if name in written else old
        for name, old in like.items()
    }


def published_shapes(shapes: Mapping, table: KeyTable) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every published tensor of a model whose parameters have `shapes`."""
    flat = layers_apart(shapes)
    return {name: _published_shape(e, flat) for e in table.entries for name in e.published}


def layers_apart(tree: Mapping) -> dict[str, Any]:
    """Returns a parameter tree (arrays or shapes) by path, with the layers of stacks one by one."""
    return split_layers(flatten_dict(dict(tree), sep="/"))


def count_parameters(shapes: Mapping) -> int:
    """Returns the number of trained numbers in a parameter tree; tied tensors count once."""
    return sum(int(np.prod(leaf.shape)) for leaf in flatten_dict(dict(shapes)).values())


def present_name(entry: Entry, state: State) -> str | None:
    """Returns the first of an entry's names that the file has."""
    return next((name for name in entry.published if name in state), None)


def _published_shape(entry: Entry, flat: Mapping) -> tuple[int, ...]:
    zeros = [np.broadcast_to(np.float32(0), flat[path].shape) for path in entry.ours]
    return tuple(entry.to_published(*zeros).shape)


def _check(state: State, table: KeyTable, flat: Mapping | None) -> None:
    """Raises one ValueError for everything that keeps `state` from filling the parameters."""
    missing = [e.published[0] for e in table.entries if present_name(e, state) is None]
    unknown = [n for n in state if n not in table.names and not table.carries(n)]
    filled = [e for e in table.entries if present_name(e, state) is not None]
    sections = [
        *_section("tensors that the model needs and the file lacks", missing, {}, unknown),
        *_section("tensors in the file that the model does not know", unknown, state, missing),
        *_lines("tied tensors that differ from each other", _untied(filled, state)),
    ]
    if flat is not None:
        known = table.paths
        forgotten = [path for path in flat if path not in known]
        sections += _section("parameters that the key table does not fill", forgotten, flat, [])
        wrong = misshapen(filled, state, flat)
        sections += _lines("tensors of another shape than the model's", wrong)
    if sections:
        raise ValueError("the checkpoint does not fit the model:\n" + "\n".join(sections))


def check_values(entries: Iterable[Entry], state: State) -> None:
    """Raises ValueError that names the tensors with which a model could compute nothing."""
    bad = [*_lines("tensors with values that no model can have", _bad_values(entries, state))]
    if bad:
        raise ValueError("the checkpoint is damaged:\n" + "\n".join(bad))


def _bad_values(entries: Iterable[Entry], state: State) -> Iterator[str]:
    for entry in entries:
        name = present_name(entry, state)
        array = np.asarray(state[name])
        if not np.isfinite(array).all():
            count = array.size - np.count_nonzero(np.isfinite(array))
            yield f"{name}: {count:,} of {array.size:,} are NaN or infinite"
        elif entry.ours[0].endswith(_POSITIVE) and array.size and array.min() <= 0:
            yield f"{name}: {array.min():g}, must be above 0"


def _section(title: str, names: list[str], arrays: Mapping, others: list[str]) -> Iterator[str]:
    """Yields a titled list of names grouped by prefix, with shapes and nearest other names."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_prefix(name), []).append(name)
    if groups:
        yield f"{len(names)} {title}:"
    for prefix, members in groups.items():
        yield f"  {prefix} ({len(members)}):"
        for name in members[:_NAMES_SHOWN]:
            shape = f" {tuple(arrays[name].shape)}" if name in arrays else ""
            yield f"    {name}{shape}{nearest(name, others)}"
        if len(members) > _NAMES_SHOWN:
            yield f"    … and {len(members) - _NAMES_SHOWN} more"


def _lines(title: str, lines: Iterable[str]) -> Iterator[str]:
    lines = list(lines)
    if lines:
        yield f"{len(lines)} {title}:"
    yield from (f"  {line}" for line in lines[: 2 * _NAMES_SHOWN])
    if len(lines) > 2 * _NAMES_SHOWN:
        yield f"  … and {len(lines) - 2 * _NAMES_SHOWN} more"


def _prefix(name: str) -> str:
    """The part of a name up to its first layer number, or without its last two components."""
    numbered = re.match(r"(.*?)[./](?=\d+[./])", name)
    return numbered[1] if numbered else ".".join(re.split(r"[./]", name)[:-2]) or "top level"


def _untied(entries: list[Entry], state: State) -> Iterator[str]:
    for entry in entries:
        first, *copies = [name for name in entry.published if name in state]
        for name in copies:
            if state[first] is not state[name] and not np.array_equal(state[first], state[name]):
                yield f"{first} and {name}"


def misshapen(entries: Iterable[Entry], state: State, flat: Mapping) -> Iterator[str]:
    """Yields a line for every tensor in `state` that does not fit parameters by path, `flat`."""
    for entry in entries:
        if any(path not in flat for path in entry.ours):
            yield f"{entry.published[0]}: the model has no parameter {' or '.join(entry.ours)}"
            continue
        name, expected = present_name(entry, state), _published_shape(entry, flat)
        given = tuple(state[name].shape)
        if given != expected:
            yield f"{name}: the file has {given}, the model {expected}; see {_field(entry)}"


def _field(entry: Entry) -> str:
    """Names the config field that sizes a parameter."""
    for pattern, field in _FIELDS:
        found = re.match(pattern, entry.ours[0])
        if found:
            return f"config.model.{found.expand(field)}"
    return "config.model"

"""The table of batch fields: the name, dtype and shape of everything a model may be fed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from vlp_jax.config import nearest

IGNORE = -100
"""Label of a position that has no prediction target (ALBEF's and PyTorch's convention)."""

_UNIT_SLACK = 0.01  # of boxes that were kept as float16


@dataclass(frozen=True)
class Field:
    """One batch field: allowed dtypes, dimension names (an int is a fixed size) and meaning.

    A name with a question mark is an axis that may be missing; a tuple holds the sizes allowed.
    """

    dtypes: tuple[str, ...]
    dims: tuple[str | int | tuple[int, ...], ...]
    meaning: str

    def __post_init__(self) -> None:
        """Raises ValueError for what is no tuple, as a text alone, and for unknown dtypes."""
        for name, given in (("dtypes", self.dtypes), ("dims", self.dims)):
            if not isinstance(given, tuple):
                raise ValueError(f"{name} of a batch field is {given!r}, expected a tuple")
        unknown = [dtype for dtype in self.dtypes if not _is_number_type(dtype)]
        if unknown:
            raise ValueError(
                f"unknown dtype {unknown[0]!r} of a batch field, expected one as int32"
            )


def _is_number_type(dtype: str) -> bool:
    try:
        return np.dtype(dtype).kind in "biuf"
    except TypeError:
        return False


FIELDS: dict[str, Field] = {
    "image": Field(("uint8", "float32"), ("B", "P?", "H", "W", 3), "pixels; float32 = normalised"),
    "image_id": Field(("int32",), ("B",), "equal ids = the same picture"),
    "text_ids": Field(("int32",), ("B", "P?", "L"), "caption tokens"),
    "text_mask": Field(("bool",), ("B", "P?", "L"), "True = real token"),
    "text_segments": Field(("int32",), ("B", "P?", "L"), "0 = first part, 1 = second part"),
    "region_features": Field(("float32",), ("B", "P?", "R", "F"), "detector features"),
    "region_boxes": Field(
        ("float32",), ("B", "P?", "R", (4, 7)), "x1, y1, x2, y2 (, w, h, w·h), unit square"
    ),
    "region_mask": Field(("bool",), ("B", "P?", "R"), "True = real region"),
    "region_hidden": Field(("bool",), ("B", "R"), "True = region to be predicted"),
    "region_types": Field(("int32",), ("B", "P?", "R"), "row of the type table"),
    "region_alignment": Field(("int32",), ("B", "R", "T"), "text positions of a region; -1 = none"),
    "region_targets": Field(("float32",), ("B", "R", "F"), "features before any was hidden"),
    "region_class_scores": Field(("float32",), ("B", "R", "C"), "share of each detector class"),
    "region_labels": Field(("int32",), ("B", "R"), "detector's object class"),
    "region_confidence": Field(("float32",), ("B", "R"), "of the object class, 0..1"),
    "region_attributes": Field(("int32",), ("B", "R"), "detector's attribute class"),
    "region_attribute_confidence": Field(("float32",), ("B", "R"), "of the attribute, 0..1"),
    "example_mask": Field(("bool",), ("B",), "False = padding of the last evaluation batch"),
}
"""The fields that all tasks share; transforms of tasks say themselves what they make."""


def stack(examples: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns a batch made of examples that have the same fields and shapes."""
    try:
        return {name: np.stack([example[name] for example in examples]) for name in examples[0]}
    except (KeyError, ValueError) as error:
        shapes = {name: sorted({np.shape(e[name]) for e in examples if name in e})
                  for name in sorted({name for e in examples for name in e})}  # fmt: skip
        raise TypeError(f"examples of one batch differ in fields or shapes: {shapes}") from error


def check_batch(batch: Mapping[str, np.ndarray], fields: Mapping[str, Field] = FIELDS) -> None:
    """Raises ValueError unless every field is known and has its dtype and a consistent shape."""
    if not batch:
        raise ValueError("the batch is empty: expected at least one field")
    sizes: dict[str, tuple[int, str]] = {}
    for name, array in batch.items():
        if name not in fields:
            raise ValueError(
                f'unknown batch field "{name}".{nearest(name, fields)} Known: {", ".join(fields)}'
            )
        field = fields[name]
        if str(array.dtype) not in field.dtypes:
            allowed = " or ".join(field.dtypes)
            raise ValueError(f'batch field "{name}" has dtype {array.dtype}, expected {allowed}')
        _check_shape(name, array.shape, field.dims, sizes)


def check_given(batch: Mapping[str, np.ndarray], names: Iterable[str]) -> None:
    """Raises ValueError unless a batch has all these fields, of numbers and of as many rows."""
    if not isinstance(batch, Mapping):
        raise ValueError(f"the batch is a {type(batch).__name__}, expected a dict of arrays")
    missing = [name for name in names if name not in batch]
    if missing:
        there = ", ".join(batch) or "none"
        raise ValueError(f"the batch lacks {', '.join(missing)}; it has {there}")
    arrays = {name: np.asarray(value) for name, value in batch.items()}
    for name, array in arrays.items():
        if array.dtype.kind in "OSUMm" or not array.ndim:
            raise ValueError(f'"{name}" is {array.dtype} {list(array.shape)}, expected numbers')
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise ValueError(f"the fields of the batch differ in their number of rows: {told}")


def check_indices(batch: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> None:
    """Raises ValueError for a number in a field that is no row of the table it points into.

    sizes: batch field → rows of the table; fields that are not there are passed over. Computed
    look-ups would give NaN, or another row, without a word. -1 is "none" in an alignment.
    """
    for name in sizes.keys() & batch.keys():
        values, least = np.asarray(batch[name]), -1 if name == "region_alignment" else 0
        low, high = values.min(initial=0), values.max(initial=0)
        if low < least or high >= sizes[name]:
            raise ValueError(
                f'"{name}" holds {low if low < least else high}, and the model knows '
                f"{sizes[name]} of them: expected {least} to {sizes[name] - 1}"
            )


def check_numbers(batch: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError for numbers that are not finite and boxes that are not in the unit square.

    Rows of regions that `region_mask` calls filling do not count for boxes.
    """
    for name, values in batch.items():
        values = np.asarray(values)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            first = tuple(map(int, np.argwhere(~np.isfinite(values))[0]))
            raise ValueError(f'"{name}" holds {values[first]} at {list(first)}: expected numbers')
    if "region_boxes" in batch:
        boxes = np.asarray(batch["region_boxes"])
        real = np.asarray(batch.get("region_mask", np.ones(boxes.shape[:-1], bool)))
        low, high = boxes[real].min(initial=0), boxes[real].max(initial=0)
        if low < -_UNIT_SLACK or high > 1 + _UNIT_SLACK:
            raise ValueError(
                f'"region_boxes" reach from {low:.6g} to {high:.6g}: expected shares of the '
                "picture from 0 to 1; divide pixels by its width and height"
            )


def _check_shape(
    name: str,
    shape: tuple[int, ...],
    dims: tuple[str | int | tuple[int, ...], ...],
    sizes: dict[str, tuple[int, str]],
) -> None:
    """Compares one shape with the dimensions seen so far and remembers the new ones."""
    expected = "[" + ", ".join(map(str, dims)) + "]"
    if len(shape) < len(dims):
        dims = tuple(dim for dim in dims if not str(dim).endswith("?"))
    if len(shape) != len(dims):
        raise ValueError(f'batch field "{name}" has shape {list(shape)}, expected {expected}')
    for dim, size in zip(dims, shape):
        if isinstance(dim, tuple):
            dim = size if size in dim else dim[0]
        known, owner = (dim, name) if isinstance(dim, int) else sizes.setdefault(dim, (size, name))
        if size != known:
            because = "" if isinstance(dim, int) else f' with {dim} = {known} as in "{owner}"'
            raise ValueError(
                f'batch field "{name}" has shape {list(shape)}, expected {expected}{because}'
            )

"""Transforms: small functions that make the batch fields of a record, in stages."""

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np

from vlp_jax.config.plugins import PluginError
from vlp_jax.data.batch import FIELDS, Field

Record = Mapping[str, Any]
Others = Callable[[int], Record]


class Stage(IntEnum):
    """When a transform works; those of one stage work in the order in which they were given."""

    PAIRS = 0
    """Whose texts are shown."""
    PICTURE = 1
    """Pixels and regions of the record."""
    REGIONS = 2
    """What is hidden of regions."""
    SHAPES = 3
    """Regions in fixed shapes."""
    TEXT = 4
    """Words to ids."""
    LABELS = 5
    """All else: what a task makes of what is there."""


class Example(dict[str, Any]):
    """What transforms have made of one record so far: batch fields, and notes for one another.

    Attributes:
      record: the source's record.
      others: gives a record of another image for each number of a draw.
    """

    def __init__(self, record: Record, others: Others):
        super().__init__()
        self.record = record
        self.others = others


class Transform:
    """Makes entries of an example from what is there; subclasses are frozen dataclasses.

    Attributes:
      stage: when it works.
      makes: the batch fields that it makes beside those that all tasks share. Entries that are no
        batch field are notes for later transforms and are dropped in the end.
    """

    stage: ClassVar[Stage] = Stage.LABELS
    makes: ClassVar[Mapping[str, Field]] = {}

    def __call__(self, example: Example, rng: np.random.Generator) -> Mapping[str, Any]:
        """Returns the new entries; ValueError or FileNotFoundError says what ails the record."""
        raise NotImplementedError


class Chain:
    """All transforms of a source: from one record to one example of fixed shapes.

    `fields` are the batch fields that may come out.
    """

    def __init__(self, transforms: Iterable[Transform]):
        """Equal transforms work once; two that make the same field in other ways are an error."""
        given = tuple(transforms)
        for transform in given:
            if not (isinstance(transform, Transform) and type(transform).__hash__):
                raise ValueError(
                    f"a task's transforms hold {transform!r}: expected a Transform, an object of a "
                    "class with @dataclass(frozen=True)"
                )
        self.transforms = tuple(sorted(dict.fromkeys(given), key=lambda t: t.stage))
        self.fields = dict(FIELDS)
        makers: dict[str, Transform] = {}
        for transform in self.transforms:
            for name, field in transform.makes.items():
                if makers.setdefault(name, transform) != transform:
                    raise ValueError(
                        f'two tasks make the batch field "{name}" in different ways: '
                        f"{makers[name]} and {transform}. Give them the same settings"
                    )
                self.fields[name] = field

    def __call__(
        self, record: Record, rng: np.random.Generator, others: Others | None = None
    ) -> dict[str, np.ndarray]:
        """Returns the example's batch fields, without B."""
        example = Example(record, others or _no_others)
        for transform in self.transforms:
            made = transform(example, rng)
            if not isinstance(made, Mapping):
                name, what = type(transform).__name__, type(made).__name__
                raise PluginError(f"transform {name} gives {what}, expected entries by name")
            example.update(made)
        return {name: value for name, value in example.items() if name in self.fields}


def _no_others(draw: int) -> Record:
    raise ValueError(
        "a task that shows another image needs the other records: read the source through a "
        "pipeline"
    )

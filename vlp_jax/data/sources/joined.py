"""Source "joined": several data sets as one list, so that a batch holds records of all of them."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.data.sources.base import (
    SOURCES,
    Record,
    Source,
    check_choice,
    check_index,
    check_integer,
    of_split,
)

_MOST_IMAGE_ID = 2**31 - 1


@SOURCES.register("joined")
@dataclass(eq=False)
class Joined(Source):
    """The records of all parts one after another; shuffling mixes them within batches.

    parts: name → options with a `kind`, as in {"coco": {"kind": "json", "path": ...}, ...}.
    repeats: name → how many times an epoch shows each record of a part, 1 if not given.
    Records provide what all parts provide. Answers are those that all parts list alike, in their
    order, else those of any part; region classes and attributes those that all parts name alike.
    Image ids are `id * parts + number of the part`,
    so different images keep different ids.
    """

    parts: dict[str, dict] | None = None
    repeats: dict | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.path is not None:
            raise ValueError(
                f"source joined takes no path ({self.path}); each of its `parts` has one"
            )
        if not self.parts:
            raise ValueError('source joined needs `parts`, as in {"cc3m": {"kind": "webdataset"}}')
        repeats = self.repeats or {}
        for name, count in repeats.items():
            check_choice("part in `repeats`", name, self.parts)
            check_integer(f"repeats.{name}", count, 1, 10**6)
        self._counts = [repeats.get(name, 1) for name in self.parts]
        self._set_parts(
            {
                name: _open(name, dict(options), self.split, self.seed)
                for name, options in self.parts.items()
            }
        )

    def _set_parts(self, opened: dict[str, Source]) -> None:
        """Takes the opened parts by name; ValueError if they have nothing in common."""
        self._names, self._parts = list(opened), list(opened.values())
        sizes = [len(part) * count for part, count in zip(self._parts, self._counts)]
        self._ends = np.cumsum(sizes)
        self.provides = frozenset.intersection(*(part.provides for part in self._parts))
        if not self.provides:
            listed = ", ".join(f"{name}: {sorted(part.provides)}" for name, part in opened.items())
            raise ValueError(f"the parts of source joined have nothing in common: {listed}")
        self.skipped = [
            f"{name}: {reason}" for name, part in opened.items() for reason in part.skipped
        ]
        self.attribution = " ".join(dict.fromkeys(part.attribution for part in self._parts))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Record:
        number, row = self._place(index)
        return self._with_own_id(self._parts[number][row], number)

    def annotation(self, index: int) -> Record:
        """Returns a record without its picture, as its part gives it."""
        number, row = self._place(index)
        record = self._parts[number].annotation(row)
        return self._with_own_id(record, number) if "image_id" in record else record

    def _place(self, index: int) -> tuple[int, int]:
        """Returns the number of the part that a record is of, and its number there."""
        index = check_index(index, len(self))
        number = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[number - 1]) if number else 0
        return number, (index - start) % len(self._parts[number])

    def _with_own_id(self, record: Record, number: int) -> Record:
        identity = record["image_id"] * len(self._parts) + number
        if not 0 <= identity <= _MOST_IMAGE_ID:
            raise ValueError(
                f"image_id {record['image_id']} of part {self._names[number]} is too large to join "
                f"{len(self._parts)} parts"
            )
        return record | {"image_id": identity}

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every record, int64 [N]; equal in repeats of a record."""
        several = len(self._parts)
        ids = [part.image_ids() * several + number for number, part in enumerate(self._parts)]
        return np.concatenate([np.tile(i, count) for i, count in zip(ids, self._counts)])

    def by_image(self) -> Source:
        """Returns each image of each part once; a record that is repeated counts once."""
        once = copy.copy(self)
        once._counts = [1] * len(self._parts)
        once._set_parts({name: part.by_image() for name, part in zip(self._names, self._parts)})
        return once

    def answers(self) -> tuple[str, ...]:
        """Returns the answers that all parts list alike, else those of all parts, sorted."""
        lists = [part.answers() for part in self._parts]
        return _shared(lists) or tuple(sorted(frozenset().union(*lists)))

    def region_classes(self) -> tuple[str, ...]:
        """Returns the region classes that all parts name alike, else ()."""
        return _shared(part.region_classes() for part in self._parts)

    def region_attributes(self) -> tuple[str, ...]:
        """Returns the region attributes that all parts name alike, else ()."""
        return _shared(part.region_attributes() for part in self._parts)

    def texts(self) -> Iterator[str]:
        """Yields the training texts of all parts."""
        for part in self._parts:
            yield from part.texts()


def _shared(names: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    different = set(names)
    return different.pop() if len(different) == 1 else ()


def _open(name: str, options: dict[str, Any], split: str, seed: int) -> Source:
    kind = SOURCES.get_known(options.pop("kind", None), f'part "{name}" of source joined: kind')
    try:
        return of_split(kind, split, {"seed": seed, **options})
    except FileNotFoundError as error:
        raise FileNotFoundError(f'part "{name}" of source joined: {error}') from None
    except ValueError as error:
        raise ValueError(f'part "{name}" of source joined: {error}') from None

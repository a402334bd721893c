"""Source "joined": several data sets as one list, so that a batch holds records of all of them."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vlp_jax.data.sources.base import (
    SOURCES,
    Record,
    Source,
    check_choice,
    check_index,
    check_integer,
    check_options,
)

_MOST_IMAGE_ID = 2**31 - 1
_CLASS_NAMES = ("region_classes", "region_attributes")


@SOURCES.register("joined")
class Joined:
    """The records of all parts one after another; shuffling mixes them within batches.

    parts: name → options with a `kind`, as in {"coco": {"kind": "json", "path": ...}, ...}.
    repeats: name → how many times an epoch shows each record of a part, 1 if not given.
    Records provide what all parts provide; answers are those of any part, region classes and
    attributes those that all parts name alike. Image ids are `id * parts + number of the part`,
    so different images keep different ids.
    """

    def __init__(
        self,
        split: str = "train",
        path: str | None = None,
        seed: int = 0,
        parts: Mapping[str, Mapping[str, Any]] | None = None,
        repeats: Mapping[str, int] | None = None,
        **unknown,
    ):
        check_options(self, unknown)
        if path is not None:
            raise ValueError(f"source joined takes no path ({path}); each of its `parts` has one")
        if not parts:
            raise ValueError('source joined needs `parts`, as in {"cc3m": {"kind": "webdataset"}}')
        for name, count in (repeats or {}).items():
            check_choice("part in `repeats`", name, parts)
            check_integer(f"repeats.{name}", count, 1, 10**6)
        self._names = list(parts)
        self._parts = [_open(name, dict(parts[name]), split, seed) for name in parts]
        counts = [(repeats or {}).get(name, 1) for name in parts]
        sizes = [len(part) * count for part, count in zip(self._parts, counts)]
        self._ends = np.cumsum(sizes)
        self.provides = frozenset.intersection(*(part.provides for part in self._parts))
        if not self.provides:
            listed = ", ".join(f"{n}: {sorted(p.provides)}" for n, p in zip(parts, self._parts))
            raise ValueError(f"the parts of source joined have nothing in common: {listed}")
        self.skipped = [
            f"{name}: {reason}"
            for name, part in zip(parts, self._parts)
            for reason in getattr(part, "skipped", ())
        ]
        for kind in _CLASS_NAMES:  # a source has these methods only where it names its classes
            named = {getattr(part, kind, tuple)() for part in self._parts}
            if len(named) == 1 and (names := named.pop()):
                setattr(self, kind, functools.partial(tuple, names))

    @property
    def attribution(self) -> str:
        """The attributions of the parts, each once."""
        return " ".join(dict.fromkeys(part.attribution for part in self._parts))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Record:
        index = check_index(index, len(self))
        number = int(np.searchsorted(self._ends, index, side="right"))
        part = self._parts[number]
        start = int(self._ends[number - 1]) if number else 0
        record = part[(index - start) % len(part)]
        identity = record["image_id"] * len(self._parts) + number
        if not 0 <= identity <= _MOST_IMAGE_ID:
            raise ValueError(
                f"image_id {record['image_id']} of part {self._names[number]} is too large to join "
                f"{len(self._parts)} parts"
            )
        return record | {"image_id": identity}

    def answers(self) -> tuple[str, ...]:
        """Returns the answers of all parts, sorted."""
        answering = [part for part in self._parts if hasattr(part, "answers")]
        return tuple(sorted({answer for part in answering for answer in part.answers()}))

    def texts(self) -> Iterator[str]:
        """Yields the training texts of all parts."""
        for part in self._parts:
            yield from part.texts()


def _open(name: str, options: dict[str, Any], split: str, seed: int) -> Source:
    kind = SOURCES.get_known(options.pop("kind", None), f'part "{name}" of source joined: kind')
    try:
        return kind(split=split, **{"seed": seed, **options})
    except FileNotFoundError as error:
        raise FileNotFoundError(f'part "{name}" of source joined: {error}') from None
    except ValueError as error:
        raise ValueError(f'part "{name}" of source joined: {error}') from None

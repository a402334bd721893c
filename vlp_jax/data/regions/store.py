"""What every reader of region files offers: keys, random access, checks and clear errors."""

import abc
import bisect
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from vlp_jax.config import Registry, nearest
from vlp_jax.data.foreign import foreign_bytes, shortened
from vlp_jax.data.paths import existing_path
from vlp_jax.data.regions.build import build_regions
from vlp_jax.data.regions.regions import Regions, Rules
from vlp_jax.data.sources.base import check_choice

REGION_STORES = Registry("region store")
"""Maps a name to a `RegionStore` class."""

_PROBES = 10  # first pictures of which one must be readable
_NEIGHBOURS = 20
_SEARCHED = 2_000  # more keys than this are not all compared for a hint


class RegionStore(abc.ABC):
    """Pictures' regions by key, from one file or folder; thread-safe and picklable.

    Subclasses set `_keys` before they call `_probe`, and implement `_read`. One with options of its
    own adds them to `Rules` in a dataclass that is its `options`.
    Attributes: path; rules; dimension, the width of all features; class_count, that of all class
    scores; contents, the names of the optional fields that every picture has. The first readable
    picture says what they are; what others have besides is left out.
    """

    options: ClassVar[type[Rules]] = Rules

    def __init__(self, path: str | Path, /, **rules: Any):
        """Raises FileNotFoundError, or ValueError for a rule that does not exist."""
        self.path = existing_path(path, "region features")
        self.rules = self._make_rules(rules)
        self.dimension: int | None = self.rules.dimension
        self.class_count: int | None = None
        self.contents: frozenset[str] | None = None  # not known before a picture has been read
        self._keys: Sequence[str] = ()
        self._rows: dict[str, int] = {}

    @abc.abstractmethod
    def _read(self, row: int) -> Mapping[str, Any]:
        """Returns the fields of picture number `row`, under any names that `build.NAMES` knows."""

    def keys(self) -> list[str]:
        """Returns the keys of all pictures, as the file orders them."""
        return list(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> Regions:
        """Returns the regions of a picture; ValueError that names it and what is wrong."""
        if key not in self._rows:
            raise ValueError(
                f'{self.path}: no regions of the picture "{shortened(key, 200)}".'
                + nearest_key(key, self._keys)
            )
        with foreign_bytes(f'{self.path}, picture "{shortened(key, 200)}"'):
            fields = self._read(self._rows[key])
            return self._fitted(build_regions(fields, self.rules, self.dimension))

    def _fitted(self, regions: Regions) -> Regions:
        """Returns the regions with the fields that all pictures have, so that batches stack."""
        if self.contents is None:
            return regions
        found = regions.contents()
        if missing := self.contents - found:
            raise ValueError(f"there are no {' and no '.join(sorted(missing))}, as others have")
        regions = dataclasses.replace(regions, **dict.fromkeys(found - self.contents))
        if "class_scores" in self.contents:
            count = regions.class_scores.shape[1]
            if count != self.class_count:
                raise ValueError(f"the class scores are of {count} classes, not {self.class_count}")
        return regions

    def _probe(self) -> None:
        """Numbers the keys and learns from the first readable picture what all must be like."""
        if not len(self._keys):
            raise ValueError(f"{self.path} holds no pictures")
        self._rows = {key: row for row, key in enumerate(self._keys)}
        if len(self._rows) < len(self._keys):
            row, key = next((r, k) for r, k in enumerate(self._keys) if self._rows[k] != r)
            raise ValueError(
                f'{self.path}: the key "{shortened(key, 200)}" occurs twice, as picture number '
                f"{row} and {self._rows[key]}"
            )
        first = self._first_readable()
        self.dimension = first.features.shape[1]
        if first.class_scores is not None:
            self.class_count = first.class_scores.shape[1]
        self.contents = first.contents()

    def _first_readable(self) -> Regions:
        problem = None
        for key in itertools.islice(self._keys, _PROBES):
            try:
                return self[key]
            except ValueError as error:
                problem = problem or error
        raise problem

    @classmethod
    def _make_rules(cls, rules: Mapping[str, Any]) -> Rules:
        known = [field.name for field in dataclasses.fields(cls.options)]
        for name in rules:
            check_choice(f"option of {cls.__name__}", name, known)
        return cls.options(**rules)


def nearest_key(key: str, keys: Sequence[str]) -> str:
    """Returns ' Did you mean "x"?' or ''; of very many keys only the likeliest are compared."""
    if len(keys) > _SEARCHED:
        ordered = sorted(keys)
        place = bisect.bisect(ordered, key)
        likely = ordered[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS]
        stem = key.rpartition("/")[2].partition(".")[0].lower()
        alike = (k for k in keys if stem and stem in k.lower())
        keys = [*likely, *itertools.islice(alike, _NEIGHBOURS)]
    return nearest(key, keys)

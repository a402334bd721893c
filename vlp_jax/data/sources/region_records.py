"""Source "regions": captions or questions from a JSON list, detector features from a store."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.data.foreign import shortened
from vlp_jax.data.sources.base import SOURCES, Record, Source, check_index
from vlp_jax.data.sources.json_pairs import JsonPairs
from vlp_jax.data.sources.splits import SPLITS

_NEEDS = {
    "region_classes": {"labels", "confidence"},
    "region_class_scores": {"class_scores"},
}
_LOG = logging.getLogger(__name__)


@SOURCES.register("regions")
@dataclass(eq=False)
class RegionRecords(Source):
    """One record an entry of the JSON list that source "json" reads; "image" is a store's key.

    A record holds the regions of its picture, and no picture. Entries whose picture has no regions
    are left out and listed in `skipped`.

    path, holdout, validation_path: as for source "json". features: file or folder of the
    region features, several comma separated or with `*`. store: their format, a name in
    `vlp_jax.data.regions.REGION_STORES`. store_args: options of the store (docs/regions.md).
    """

    features: str | None = None
    store: str | None = None
    store_args: dict[str, Any] | None = None
    holdout: float = 0.05
    validation_path: str | None = None

    split_names = SPLITS

    def __post_init__(self):
        super().__post_init__()
        # The stores use the checks of this package, so they can't be imported before it is.
        from vlp_jax.data.regions import REGION_STORES, open_regions  # noqa: PLC0415

        for name in ("path", "features", "store"):
            if not vars(self)[name]:
                known = f" Stores: {', '.join(sorted(REGION_STORES))}" if name == "store" else ""
                raise ValueError(f"source regions needs `{name}` (docs/regions.md).{known}")
        self._texts = JsonPairs(
            self.split, self.path, holdout=self.holdout, validation_path=self.validation_path
        )
        self._store = open_regions(self.store, self.features, **(self.store_args or {}))
        keys = map(self._texts.image_key, range(len(self._texts)))
        there = np.array([key in self._store for key in keys], bool)
        self._places = np.flatnonzero(there)
        self.skipped = [*self._texts.skipped, *self._without_regions(np.flatnonzero(~there))]
        self.provides = (self._texts.provides - {"image"}) | contents_of(self._store)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Record:
        record = self.annotation(index)
        place = int(self._places[check_index(index, len(self))])
        return record | self._store[self._texts.image_key(place)].to_record()

    def annotation(self, index: int) -> Record:
        """Returns a record without its regions."""
        record = self._texts[int(self._places[check_index(index, len(self))])]
        del record["image"]
        return record

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every record, int64 [N]."""
        return self._texts.image_ids()[self._places]

    def answers(self) -> tuple[str, ...]:
        """Returns the answers of the training entries, sorted."""
        return self._texts.answers()

    def texts(self) -> Iterator[str]:
        """Yields the captions and questions of the training entries."""
        return self._texts.texts()

    def _without_regions(self, places: np.ndarray) -> list[str]:
        """Returns why the entries at `places` are left out; ValueError if all are."""
        keys = [self._texts.image_key(place) for place in places]
        missing = sorted(set(keys))
        if not missing:
            return []
        if not len(self._places):
            self._store[missing[0]]  # its error names the nearest key
        _LOG.warning(
            "%d pictures have no regions, the first is %s", len(missing), shortened(missing[0])
        )
        return [f'no regions of the picture "{shortened(key, 200)}"' for key in keys]


def contents_of(store: Any) -> set[str]:
    """Returns what the records of a store's pictures hold."""
    found = {name for name, needs in _NEEDS.items() if needs <= store.contents}
    return {"region_features"} | found

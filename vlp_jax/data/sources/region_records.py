"""Source "regions": captions or questions from a JSON list, detector features from a store."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from vlp_jax.data.sources.base import SOURCES, Record, check_index, check_options
from vlp_jax.data.sources.json_pairs import JsonPairs

_NEEDS = {
    "region_classes": {"labels", "confidence"},
    "region_class_scores": {"class_scores"},
}
_LOG = logging.getLogger(__name__)


@SOURCES.register("regions")
class RegionRecords:
    """One record an entry of the JSON list that source "json" reads; "image" is a store's key.

    A record holds the regions of its picture, and no picture. Entries whose picture has no regions
    are left out and listed in `skipped`.

    path, holdout, validation_path, seed: as for source "json". features: file or folder of the
    region features, several comma separated or with `*`. store: their format, a name in
    `vlp_jax.data.regions.REGION_STORES`. store_args: options of the store (docs/regions.md).
    """

    attribution = JsonPairs.attribution

    def __init__(
        self,
        split: str = "train",
        path: str | None = None,
        seed: int = 0,
        features: str | None = None,
        store: str | None = None,
        store_args: dict[str, Any] | None = None,
        holdout: float = 0.05,
        validation_path: str | None = None,
        **unknown,
    ):
        # The stores use the checks of this package, so they can't be imported before it is.
        from vlp_jax.data.regions import REGION_STORES, open_regions  # noqa: PLC0415

        check_options(self, unknown)
        for name, value in (("path", path), ("features", features), ("store", store)):
            if not value:
                known = f" Stores: {', '.join(sorted(REGION_STORES))}" if name == "store" else ""
                raise ValueError(f"source regions needs `{name}` (docs/regions.md).{known}")
        self._texts = JsonPairs(split, path, seed, holdout=holdout, validation_path=validation_path)
        self.store = open_regions(store, features, **(store_args or {}))
        self._keys = self._texts.image_keys()
        self._places = np.array([i for i, k in enumerate(self._keys) if k in self.store], np.int64)
        self.skipped = self._texts.skipped + self._without_regions()
        self.provides = (self._texts.provides - {"image"}) | self._provided()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Record:
        place = int(self._places[check_index(index, len(self))])
        record = self._texts[place]
        del record["image"]
        return record | self.store[self._keys[place]].to_record()

    def answers(self) -> tuple[str, ...]:
        """Returns the answers of the training entries, sorted."""
        return self._texts.answers()

    def texts(self) -> Iterator[str]:
        """Yields the captions and questions of the training entries."""
        return self._texts.texts()

    def _provided(self) -> set[str]:
        found = {name for name, needs in _NEEDS.items() if needs <= self.store.contents}
        return {"region_features"} | found

    def _without_regions(self) -> list[str]:
        """Returns why entries are left out; ValueError if all are."""
        missing = sorted({key for key in self._keys if key not in self.store})
        if not missing:
            return []
        if not len(self._places):
            self.store[missing[0]]  # its error names the nearest key
        _LOG.warning("%d pictures have no regions, the first is %s", len(missing), missing[0])
        return [f'no regions of the picture "{key}"' for key in self._keys if key not in self.store]

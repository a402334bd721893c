"""Source "found_regions": another source's records with the regions that a detector has found."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.data.sources.base import SOURCES, Record, Source, check_index, of_split
from vlp_jax.data.sources.region_records import contents_of

# What a source says of regions of its own.
_OWN = frozenset({"regions", "region_features", "region_classes", "region_class_scores"})


def region_key(split: str, image_id: int) -> str:
    """Returns under which key a store holds the regions of a source's picture."""
    return f"{split}-{image_id}"


@SOURCES.register("found_regions")
@dataclass(eq=False)
class FoundRegions(Source):
    """The records of a source, whose pictures' regions are those of a store.

    Keys of the store are split and image id, "train-17", as `vlp-jax data regions --config` writes
    them. Records whose picture has no regions are left out and listed in `skipped`. Classes are
    the numbers of the source's own, by whose names regions are called.

    records: options of the source with its `kind`. features, store, store_args: as for source
    "regions". crops: leaves out the store's features, so that `config.data.region_pixels` can cut
    them out of the pictures.
    """

    records: dict[str, Any] | None = None
    features: str | None = None
    store: str = "lxmert_tsv"
    store_args: dict[str, Any] | None = None
    crops: bool = False

    def __post_init__(self):
        super().__post_init__()
        # The stores use the checks of this package, so they can't be imported before it is.
        from vlp_jax.data.regions import open_regions  # noqa: PLC0415

        options = dict(self.records or {})
        if "kind" not in options or not self.features:
            raise ValueError(
                'source found_regions needs `records`, as in {"kind": "emoji_scenes"}, and the '
                "`features` that `vlp-jax data regions --config` has written"
            )
        kind = SOURCES.get_known(options.pop("kind"), "records of source found_regions: kind")
        own = {"path": self.path, "seed": self.seed, **options}
        self._records = of_split(kind, self.split, own)
        self._store = open_regions(self.store, self.features, **(self.store_args or {}))
        self._keys = [region_key(self.split, i) for i in self._records.image_ids()]
        self._rows = [row for row, key in enumerate(self._keys) if key in self._store]
        if not self._rows:
            self._store[self._keys[0]]  # its error names the nearest key
        missing = [key for key in self._keys if key not in self._store]
        self.skipped = [
            *self._records.skipped,
            *(f'no regions of the picture "{key}"' for key in missing),
        ]
        found = contents_of(self._store)
        found = (found - {"region_features"}) | {"regions"} if self.crops else found
        self.provides = (self._records.provides - _OWN) | found
        self.attribution = self._records.attribution
        self.split_names = self._records.split_names

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        row = self._rows[check_index(index, len(self))]
        record = _without_regions(self._records[row])
        regions = self._store[self._keys[row]]
        found = regions.to_record()
        classes = self.region_classes()
        if regions.labels is not None and classes:
            if int(regions.labels.max()) >= len(classes):
                raise ValueError(
                    f'the regions of "{self._keys[row]}" are of class {regions.labels.max()}, and '
                    f"the records name {len(classes)} classes: another detector has found them"
                )
            found["labels"] = [classes[label] for label in regions.labels]
        return record | found

    def annotation(self, index: int) -> Record:
        """Returns a record without its regions."""
        return _without_regions(self._records.annotation(self._rows[check_index(index, len(self))]))

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every record, int64 [N]."""
        return self._records.image_ids()[self._rows]

    def answers(self) -> tuple[str, ...]:
        """Returns the answers of the source."""
        return self._records.answers()

    def region_classes(self) -> tuple[str, ...]:
        """Returns the names of the source's region classes, which the detector has learned."""
        return self._records.region_classes()

    def texts(self) -> Iterator[str]:
        """Yields the texts of the source."""
        return self._records.texts()


def _without_regions(record: Record) -> Record:
    """Returns a record without what it says of regions of its own."""
    own = [name for name in record if name.startswith("region_")]
    return {name: record[name] for name in record if name not in {*own, "boxes", "labels"}}

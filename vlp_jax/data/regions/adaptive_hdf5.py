"""Store "adaptive_hdf5": regions of all pictures in one array, 10 to 100 a picture, and its index.

Source: the "adaptive" features of github.com/jnhwkim/ban-vqa, which VisualBERT's Flickr30k Entities
reads.
"""

from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.open_files import OpenFiles
from vlp_jax.data.paths import read_file
from vlp_jax.data.regions.hdf5 import open_hdf5
from vlp_jax.data.regions.hdf5_heaps import check_dataset
from vlp_jax.data.regions.store import REGION_STORES, RegionStore
from vlp_jax.pickles import read_pickle

_FEATURES, _SHARES, _ROWS = "image_features", "spatial_features", "pos_boxes"


@REGION_STORES.register("adaptive_hdf5")
class AdaptiveHdf5(RegionStore):
    """`train.hdf5` with `train_imgid2idx.pkl` beside it, which has the number of each picture.

    image_features [N, F] and spatial_features [N, 6] (x1, y1, x2, y2, width, height as shares of
    the picture) have a row a region; pos_boxes [M, 2] has first row and end of each picture. A
    region's feature is both, F + 6 numbers; the picture's size is not known.
    """

    def __init__(self, path: str | Path, /, **rules: Any):
        super().__init__(path, **rules)
        self._files = OpenFiles(open_hdf5, [self.path])
        with foreign_bytes(f"{self.path}: the file is damaged"):
            rows = np.asarray(self._dataset(_ROWS)[()])
        if rows.ndim != 2 or rows.shape[1] != 2 or rows.dtype.kind not in "iu":
            raise ValueError(
                f"{self.path}: {_ROWS} is {rows.dtype} {list(rows.shape)}, expected "
                "whole numbers [M, 2]"
            )
        numbers = self._numbers(len(rows))
        self._keys = list(numbers)
        self._slices = rows[list(numbers.values())].astype(np.int64)
        self._probe()

    def _numbers(self, count: int) -> dict[str, int]:
        """Returns key → number of each picture, from the index."""
        index = self.path.with_name(f"{self.path.stem}_imgid2idx.pkl")
        with foreign_bytes(str(index)):
            found = read_pickle(read_file(index, "index of the pictures"))
            known = isinstance(found, dict) and all(
                type(number) is int and 0 <= number < count for number in found.values()
            )
            if not known:
                raise ValueError(f"expected id → number of each picture, 0 to {count - 1}")
            return {str(key): number for key, number in found.items()}

    def _dataset(self, name: str) -> Any:
        file = self._files.get(0)
        if name not in file:
            raise ValueError(f'there is no "{name}"; the file holds {", ".join(file) or "nothing"}')
        check_dataset(self.path, file[name])
        return file[name]

    def _read(self, row: int) -> dict[str, Any]:
        first, end = self._slices[row].tolist()
        features, shares = self._dataset(_FEATURES), self._dataset(_SHARES)
        if not 0 <= first <= end <= min(len(features), len(shares)):
            raise ValueError(f"its regions are {first} to {end}, and there are {len(features)}")
        boxes = shares[first:end]
        return {"features": np.concatenate([features[first:end], boxes], 1), "unit_boxes": boxes}

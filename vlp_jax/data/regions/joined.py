"""Opens region features by the name of their format; several files count as one store."""

import glob
from pathlib import Path
from typing import Any

from vlp_jax.data.foreign import shortened
from vlp_jax.data.kept_arrays import is_kept
from vlp_jax.data.paths import local_path
from vlp_jax.data.regions.regions import Regions
from vlp_jax.data.regions.store import REGION_STORES, RegionStore, nearest_key

# Arguments that are no options → what users call them.
_NO_OPTIONS = {"kind": "store", "paths": "features", "path": "features"}


class JoinedStores:
    """Several stores of one format behind the interface of one; a key may occur only once."""

    def __init__(self, stores: list[RegionStore]):
        self._stores = stores
        self._keys = [key for store in stores for key in store.keys()]
        self._owners = {key: store for store in stores for key in store.keys()}
        self.dimension = stores[0].dimension
        self.contents = frozenset.intersection(*(store.contents for store in stores))
        for store in stores:
            store.contents = self.contents  # so that pictures of all have the same fields
            if store.dimension != self.dimension:
                raise ValueError(
                    f"the features of {stores[0].path} are {self.dimension} wide and those of "
                    f"{store.path} {store.dimension}"
                )
            if "class_scores" in self.contents and store.class_count != stores[0].class_count:
                raise ValueError(
                    f"the class scores of {stores[0].path} are of {stores[0].class_count} classes "
                    f"and those of {store.path} of {store.class_count}"
                )
            twice = next((key for key in store.keys() if self._owners[key] is not store), None)
            if twice is not None:
                raise ValueError(
                    f'the key "{twice}" occurs in {store.path} and {self._owners[twice].path}'
                )

    def keys(self) -> list[str]:
        """Returns the keys of all stores, one store after the other."""
        return list(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._owners

    def __getitem__(self, key: str) -> Regions:
        """Returns the regions of a picture, as `RegionStore` does."""
        if key not in self._owners:
            paths = ", ".join(str(store.path) for store in self._stores)
            hint = nearest_key(key, self._keys)
            raise ValueError(f'{paths}: no regions of the picture "{shortened(key, 200)}".{hint}')
        return self._owners[key][key]


def open_regions(kind: str, paths: str, /, **options: Any) -> RegionStore | JoinedStores:
    """Returns the store `kind` over one path or several, comma separated or with `*` in them.

    options: those of the store and of `Rules`. Raises FileNotFoundError or ValueError.
    """
    store = REGION_STORES.get_known(kind)
    for name, given in _NO_OPTIONS.items():
        if name in options:
            raise ValueError(f'"{name}" is no option of a store: `{given}` says it already')
    local_path(paths, "region features")
    parts = [part.strip() for part in str(paths).split(",") if part.strip()]
    found = [path for part in parts for path in _expand(part)]
    if not found:
        raise ValueError(f'no region features: "{paths}" names no file')
    stores = [store(path, **options) for path in found]
    return stores[0] if len(stores) == 1 else JoinedStores(stores)


def _expand(path: str) -> list[str]:
    path = str(local_path(path, "region features"))
    if "*" not in path:
        return [path]
    found = sorted(name for name in glob.glob(path) if not is_kept(Path(name)))
    if not found:
        raise FileNotFoundError(f'no region features: no file matches "{path}"')
    return found

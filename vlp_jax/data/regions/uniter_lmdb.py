"""Store "uniter_lmdb": UNITER's features, packed from what its extractor writes."""

from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.data.json_text import read_object
from vlp_jax.data.regions.lmdb_file import LmdbFile
from vlp_jax.data.regions.msgpack_arrays import read_msgpack
from vlp_jax.data.regions.npz import read_npz
from vlp_jax.data.regions.npz_folder import UNITER_SELECTION
from vlp_jax.data.regions.store import REGION_STORES, RegionStore

_ZIP = b"PK\x03\x04"


@REGION_STORES.register("uniter_lmdb")
class UniterLmdb(RegionStore):
    """An LMDB of UNITER, compressed (`.npz` values) or not (msgpack), or the folder around it.

    The number of regions comes from `nbb_*.json` where there is one; in an LMDB that keeps all of
    them (`all`, `all_compressed`) it is UNITER's selection: confidence above 0.2, 10 to 100.
    Source: UNITER `data/data.py`, DetectFeatLmdb.
    """

    def __init__(self, path: str | Path, /, **rules: Any):
        super().__init__(path, **rules)
        database = _find_database(self.path)
        if database.name.startswith("all"):
            self.rules = self._make_rules({**UNITER_SELECTION, **rules})
        self._counts = _read_counts(database)
        self._database = LmdbFile(database)
        self._keys = self._database.keys(besides=b"__keys__")
        self._probe()

    def _read(self, row: int) -> dict[str, Any]:
        key = self._keys[row]
        value = self._database.read(key)
        if value.startswith(_ZIP):
            fields = read_npz(value, self.rules.class_scores)
        else:
            fields = read_msgpack(value)
        if not isinstance(fields, dict):
            raise ValueError(f"the value is a {type(fields).__name__}, expected named arrays")
        return fields if self._counts is None else self._cut(fields, key)

    def _cut(self, fields: dict[str, Any], key: str) -> dict[str, Any]:
        if key not in self._counts:
            raise ValueError("the nbb_*.json beside the LMDB has no such picture")
        count = self._counts[key]
        return {name: _first(name, rows, count) for name, rows in fields.items()}


def _first(name: str, rows: Any, count: int) -> Any:
    if not isinstance(rows, np.ndarray) or not rows.ndim:
        return rows
    if len(rows) < count:
        raise ValueError(f"nbb_*.json says {count} regions, but there are {len(rows)} {name}")
    return rows[:count]


def _find_database(path: Path) -> Path:
    """Returns `path` if it is an LMDB, or the one in it."""
    if path.is_file() or (path / "data.mdb").is_file():
        return path
    found = sorted(child for child in path.iterdir() if (child / "data.mdb").is_file())
    if len(found) != 1:
        names = ", ".join(child.name for child in found) or "none"
        raise ValueError(f"{path}: expected one LMDB (a folder with data.mdb) in it, found {names}")
    return found[0]


def _read_counts(database: Path) -> dict[str, int] | None:
    """Returns key → number of regions, from feat_X[_compressed]'s nbb_X.json."""
    name = database.name.removesuffix("_compressed").replace("feat_", "nbb_", 1)
    file = database.with_name(f"{name}.json")
    if not file.is_file() or not name.startswith("nbb_"):
        return None
    counts = read_object(file)
    if not all(type(n) is int and n > 0 for n in counts.values()):
        raise ValueError(f"{file}: expected an object of picture → number of regions")
    return counts

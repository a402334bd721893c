"""Stores "npz" and "uniter_npz": folders with a file for each picture."""

from pathlib import Path
from typing import Any

from vlp_jax.data.kept_arrays import is_kept
from vlp_jax.data.paths import file_bytes
from vlp_jax.data.regions.npz import read_npz
from vlp_jax.data.regions.store import REGION_STORES, RegionStore

# UNITER `scripts/convert_imgdir.py`, its defaults.
UNITER_SELECTION = {"min_confidence": 0.2, "min_boxes": 10, "max_boxes": 100}
"""How many of the regions that its extractor has found UNITER uses."""


@REGION_STORES.register("npz")
class NpzFolder(RegionStore):
    """A folder with an `.npz` or `.npy` a picture; the key is its path below it."""

    def __init__(self, path: str | Path, /, **rules: Any):
        super().__init__(path, **rules)
        if not self.path.is_dir():
            raise ValueError(f"{self.path} is a file, expected a folder of .npz files")
        found = (file for file in self.path.rglob("*.np[yz]") if not is_kept(file))
        self._keys = sorted(file.relative_to(self.path).as_posix() for file in found)
        self._probe()

    def _read(self, row: int) -> dict[str, Any]:
        return read_npz(file_bytes(self.path / self._keys[row]), self.rules.class_scores)


@REGION_STORES.register("uniter_npz")
class UniterNpz(NpzFolder):
    """The same, with UNITER's selection: confidence above 0.2, but 10 to 100 regions."""

    def __init__(self, path: str | Path, /, **rules: Any):
        super().__init__(path, **{**UNITER_SELECTION, **rules})

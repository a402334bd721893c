"""Store "hdf5": one file, or a folder of them, with a group or a row for each picture."""

import errno
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.data.foreign import foreign_bytes, shortened
from vlp_jax.data.open_files import OpenFiles
from vlp_jax.data.regions.build import MEANINGS, NAMES, integer
from vlp_jax.data.regions.hdf5_heaps import check_dataset
from vlp_jax.data.regions.store import REGION_STORES, RegionStore
from vlp_jax.data.sources.base import optional_module

_KEYS = ("image_id", "image_ids", "img_id", "keys")
_ENDINGS = (".h5", ".hdf5", ".hdf")


@REGION_STORES.register("hdf5")
class Hdf5(RegionStore):
    """Either a group for each picture, named by its key, with fields as data sets or attributes.

    Or one data set for each field, with a row for each of M pictures: `image_id` [M], features
    [M, R, F], boxes [M, R, 4], width and height [M], and num_boxes [M] where rows are padded.
    """

    def __init__(self, path: str | Path, /, **rules: Any):
        super().__init__(path, **rules)
        self._files = OpenFiles(open_hdf5, _files(self.path))
        self._places: list[tuple[int, int | str]] = []
        keys: list[str] = []
        for number, path in enumerate(self._files.paths):
            with foreign_bytes(f"{path}: the file is damaged"):
                found = _list_pictures(path, self._files.get(number))
            keys += [key for key, _ in found]
            self._places += [(number, place) for _, place in found]
        self._keys = keys
        self._probe()

    def _read(self, row: int) -> dict[str, Any]:
        number, place = self._places[row]
        file = self._files.get(number)
        with foreign_bytes("the file is damaged"):
            if isinstance(place, str):
                group = file[place]
                fields = {name: self._value(number, group[name], ()) for name in self._names(group)}
                return _with_texts(dict(group.attrs) | fields)
            fields = {name: self._value(number, file[name], place) for name in self._names(file)}
        return _with_texts(_cut(fields))

    def _value(self, number: int, dataset: Any, place: int | tuple) -> Any:
        check_dataset(self._files.paths[number], dataset)
        return dataset[place]

    def _names(self, group: Any) -> list[str]:
        """Returns the names of the fields of a group that are wanted."""
        scores = self.rules.class_scores
        known = [name for name in group if name in MEANINGS]
        return [name for name in known if scores or MEANINGS[name] != "class_scores"]


def _cut(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a row without what pads them, if there is a count."""
    for name in NAMES["count"]:
        if name in fields:
            count = integer(name, fields[name])
            fields = {n: v[:count] if np.size(v) > 1 else v for n, v in fields.items()}
    return fields


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(child for child in path.iterdir() if child.suffix in _ENDINGS)
    if not found:
        raise ValueError(f"{path} holds no file that ends in {', '.join(_ENDINGS)}")
    return found


def open_hdf5(path: Path) -> Any:
    """Returns an open HDF5 file; ValueError if it is none, OSError where too many are open."""
    h5py = optional_module("h5py", "regions")
    try:
        return h5py.File(path, "r")
    except Exception as error:  # damage can raise anything
        if isinstance(error, OSError) and error.errno == errno.EMFILE:  # says nothing about it
            raise OSError(errno.EMFILE, "too many open files, see ulimit -n", str(path)) from None
        raise ValueError(f"{path} is no readable HDF5 file: {shortened(str(error))}") from None


def _list_pictures(path: Path, file: Any) -> list[tuple[str, int | str]]:
    """Returns each picture's key, and its group's name or its row's number."""
    h5py = optional_module("h5py", "regions")
    listed = next((name for name in _KEYS if name in file), None)
    if listed is not None:
        check_dataset(path, file[listed])
        return [(_text(key), row) for row, key in enumerate(file[listed][()])]
    groups = [(name, name) for name in file if isinstance(file[name], h5py.Group)]
    if not groups:
        raise ValueError(
            f"{path} has neither a group for each picture nor {' or '.join(_KEYS)}; it holds "
            f"{', '.join(file) or 'nothing'}"
        )
    return groups


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _with_texts(fields: dict[str, Any]) -> dict[str, Any]:
    """Decodes names, which HDF5 gives as bytes."""
    return fields | {n: [_text(v) for v in fields[n]] for n in NAMES["names"] if n in fields}

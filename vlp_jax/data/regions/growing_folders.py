"""Writes the folders that the stores "npz" and "hdf5" read, picture by picture."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.data.regions.record_folder import GROWING
from vlp_jax.data.regions.regions import Regions
from vlp_jax.data.sources.base import optional_module
from vlp_jax.data.whole_file import write_whole


class NpzPictures:
    """A folder that grows by an `.npz` a picture, named by its key, and goes on after a kill.

    Attributes: `keys` of the pictures that were there when it was opened.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.keys = frozenset(file.stem for file in folder.glob("*.npz"))
        self._folder = folder

    def add(self, key: str, regions: Regions) -> None:
        """Writes a picture's file; ValueError for a key that no file can be named by."""
        data = io.BytesIO()
        np.savez(data, **regions.fields())
        write_whole(self._folder / f"{_file_name(key)}.npz", data.getvalue())

    def close(self) -> None:
        """Every file is whole already."""


class Hdf5Groups:
    """A folder of HDF5 files that grows by a group a picture and goes on after a kill.

    HDF5 cannot mend a file that was being written, so one gets its name when it is closed, with
    `GROWING` pictures; what was in another is lost.
    Attributes: `keys` of the pictures that were there when it was opened.
    """

    def __init__(self, folder: Path):
        self._h5py = optional_module("h5py", "regions")
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(folder.glob("*.h5"))
        self.keys = frozenset(key for file in files for key in self._groups(file))
        self._folder = folder
        self._number = len(files)
        self._open: Any = None

    def add(self, key: str, regions: Regions) -> None:
        """Writes a picture's group; ValueError for a key that no group can be named by."""
        if self._open is None:
            self._open = self._h5py.File(self._unfinished, "w")
        group = self._open.create_group(_file_name(key))
        for name, value in regions.fields().items():
            texts = name == "names"  # of fixed length, which a reader need not look for in a heap
            group[name] = np.char.encode(value, "utf-8") if texts else value
        if len(self._open) == GROWING:
            self._name()

    def close(self) -> None:
        """Ends the file that is being written."""
        if self._open is not None:
            self._name()

    def _name(self) -> None:
        self._open.close()
        self._open = None
        os.replace(self._unfinished, self._folder / f"regions-{self._number:05d}.h5")
        self._number += 1

    @property
    def _unfinished(self) -> Path:
        return self._folder / "unfinished.partial"

    def _groups(self, file: Path) -> list[str]:
        with self._h5py.File(file, "r") as opened:
            return list(opened)


def _file_name(key: str) -> str:
    """Returns a key; ValueError for one that is not the name of one file or group."""
    if key in ("", ".", "..") or "/" in key or "\0" in key:
        raise ValueError(f'{key!r} cannot be a key: expected a name without "/"')
    return key

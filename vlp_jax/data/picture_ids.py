"""Ids of pictures that a file lists, such as those of test sets, on which nothing may train."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.paths import read_file

_WHAT = "list of pictures"


def read_ids(files: Iterable[str]) -> frozenset[str]:
    """Returns the ids in several files, as texts.

    A file is a NumPy array (`.npy`) of numbers or texts, as 12-in-1's `coco_test_ids.npy`, or has
    an id in each line. FileNotFoundError or ValueError for what is neither.
    """
    return frozenset(name for file in files for name in _ids(Path(file)))


def _ids(file: Path) -> list[str]:
    data = read_file(file, _WHAT)
    with foreign_bytes(f"{_WHAT} {file}"):
        if file.suffix != ".npy":
            return data.decode().split()
        found = np.load(io.BytesIO(data), allow_pickle=False)
        if found.dtype.kind not in "iuU":
            raise ValueError(f"holds {found.dtype}, expected whole numbers or texts")
        return [str(one) for one in found.ravel().tolist()]

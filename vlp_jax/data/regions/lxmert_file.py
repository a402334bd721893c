"""Writes the file that the store "lxmert_tsv" reads, picture by picture, and goes on with one."""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vlp_jax.data.regions.detector_tsv import LxmertTsv
from vlp_jax.data.regions.regions import Regions

_SEPARATORS = "\t\r\n"


class LxmertLines:
    """A file that grows by a line a picture; one that was cut short goes on.

    Attributes: `keys` of the pictures that were there when it was opened.
    """

    def __init__(self, file: Path):
        self.keys = frozenset(whole_keys(file)) if file.exists() else frozenset()
        self._lines = file.open("ab")

    def add(self, key: str, regions: Regions) -> None:
        """Writes a picture's line; see `lxmert_line` for what it raises."""
        self._lines.write(lxmert_line(key, regions))
        self._lines.flush()

    def close(self) -> None:
        """Ends writing."""
        self._lines.close()


def whole_keys(file: Path) -> Iterator[str]:
    """Yields the keys of a file's whole lines and cuts off one that was being written."""
    end = 0
    with file.open("r+b") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            yield line.partition(b"\t")[0].decode()
        lines.truncate(end)


def check_key(key: str) -> None:
    """Raises ValueError for a key that cannot stand in a line."""
    if not key or any(c in key for c in _SEPARATORS):
        raise ValueError(f"{key!r} cannot be a key: expected text without tabs and line breaks")


def lxmert_line(key: str, regions: Regions) -> bytes:
    """Returns the line of one picture; attributes are zeros where the detector gives none.

    Raises ValueError for a key that cannot stand in a line and for regions without classes.
    """
    check_key(key)
    if regions.labels is None or regions.confidence is None:
        raise ValueError(f'picture "{key}" has no classes, which this format holds')
    nothing = np.zeros(len(regions))
    attributes = nothing if regions.attributes is None else regions.attributes
    surely = nothing if regions.attribute_confidence is None else regions.attribute_confidence
    arrays: Mapping[str, tuple[np.ndarray, str]] = {
        "objects_id": (regions.labels, "<i8"),
        "objects_conf": (regions.confidence, "<f4"),
        "attrs_id": (attributes, "<i8"),
        "attrs_conf": (surely, "<f4"),
        "boxes": (regions.boxes, "<f4"),
        "features": (regions.features, "<f4"),
    }
    texts = {
        name: base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()
        for name, (array, dtype) in arrays.items()
    }
    numbers = {"img_h": regions.height, "img_w": regions.width, "num_boxes": len(regions)}
    columns = {"img_id": key} | {name: str(n) for name, n in numbers.items()} | texts
    return ("\t".join(columns[name] for name in LxmertTsv.columns) + "\n").encode()

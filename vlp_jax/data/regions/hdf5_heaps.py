"""Checks of HDF5 data sets that the library does not make: it goes round in circles in a bad heap.

Texts of any length are kept apart, in global heaps. Source: HDF5 File Format Specification 3.0,
section III.E.
"""

import os
import struct
from pathlib import Path
from typing import Any

_REFERENCE = struct.Struct("<IQI")  # length of a text, address of its heap, number in it
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, size with this head
_OBJECT = struct.Struct("<HH4xQ")  # number (0: free space), uses, size


def check_dataset(path: Path, dataset: Any) -> None:
    """Raises ValueError for a data set larger than its file, or texts whose heap is damaged.

    Packed ones may be larger than the file, and chunked ones are left to the library.
    """
    offset = dataset.id.get_offset()
    if offset is None:
        return
    if dataset.size * dataset.dtype.itemsize > path.stat().st_size:
        raise ValueError(f'"{dataset.name}" has shape {list(dataset.shape)}, more than the file')
    if dataset.dtype.kind == "O" and not dataset.file.userblock_size:
        _check_heaps(path, offset, dataset.size)


def _check_heaps(path: Path, offset: int, count: int) -> None:
    with path.open("rb", buffering=0) as stream:
        descriptor = stream.fileno()
        references = os.pread(descriptor, count * _REFERENCE.size, offset)
        whole = len(references) // _REFERENCE.size * _REFERENCE.size
        heaps = {address for _, address, _ in _REFERENCE.iter_unpack(references[:whole])} - {0}
        for address in heaps:
            _check_heap(descriptor, address)


def _check_heap(descriptor: int, address: int) -> None:
    """Raises ValueError unless the objects of a heap lie one behind the other up to its end."""
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, _HEAP.size, min(address, size))
    if len(head) < _HEAP.size or not head.startswith(b"GCOL"):
        raise ValueError(f"there is no heap of texts at byte {address}")
    _, _, length = _HEAP.unpack(head)
    heap = os.pread(descriptor, min(length, size), address)
    place = _HEAP.size
    while place + _OBJECT.size <= len(heap):
        number, _, content = _OBJECT.unpack_from(heap, place)
        step = content if number == 0 else _OBJECT.size + -(-content // 8) * 8
        if step < _OBJECT.size:
            break
        place += step
    if place > len(heap) or len(heap) - place >= _OBJECT.size:
        raise ValueError(f"the heap of texts at byte {address} is damaged")

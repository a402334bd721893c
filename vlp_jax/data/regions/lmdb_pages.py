"""Where the values of an LMDB lie: its tree of pages, read with every number checked.

The library maps the file and trusts it, so that a cut or damaged one ends the whole process
(a bus error, an abort). Source of the layout: LMDB 0.9 `mdb.c`, MDB_meta, MDB_page, MDB_node.
"""

import os
import struct
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlp_jax.data.foreign import foreign_bytes

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_META = struct.Struct("<16xII16xIHHQQQQQ IHHQQQQQ QQ".replace(" ", ""))
_PAGE = struct.Struct("<QHHHH")  # number, padding, flags, end of the places, start of the nodes
_NODE = struct.Struct("<HHHH")  # size or child (low, high, higher), length of the key
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4  # flags of pages
_BIG = 1  # flag of a node whose value has pages of its own
_NOTHING = 2**64 - 1  # root of an empty tree
_PAGE_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768)


@dataclass(frozen=True)
class LmdbEntries:
    """The N entries of an LMDB in the order of their keys.

    keys: UTF-8. offsets, sizes: int64 [N], the bytes of each value in the file. pages: int64 [N],
    the number of the page that a value has to itself, or -1.
    """

    keys: list[bytes]
    offsets: np.ndarray
    sizes: np.ndarray
    pages: np.ndarray


def read_entries(file: Path) -> LmdbEntries:
    """Returns the entries of an LMDB's data file; ValueError if it is none or damaged."""
    with foreign_bytes(f"{file}: the LMDB can't be read"), file.open("rb", buffering=0) as stream:
        tree = _Tree(stream.fileno())
        found = LmdbEntries(tree.keys, *(np.array(column, np.int64) for column in tree.columns))
        reach = int((found.offsets + found.sizes).max(initial=0))
        if reach > tree.size:
            missing = int((found.offsets + found.sizes > tree.size).sum())
            raise ValueError(
                f"it is cut short: it has {tree.size} bytes, and {missing} of {len(tree.keys)} "
                f"values lie behind them, up to byte {reach}"
            )
        return found


class _Tree:
    """Goes through all pages from the root; keys and columns hold what the leaves do."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._page_size, root, self._last = self._newest_meta()
        self.keys: list[bytes] = []
        self.columns = array("q"), array("q"), array("q")
        self._seen: set[int] = set()
        waiting = [] if root == _NOTHING else [root]
        while waiting:
            waiting += reversed(self._visit(waiting.pop()))

    def _newest_meta(self) -> tuple[int, int, int]:
        """Returns page size, root and last page of the later one of the two meta pages."""
        first = self._meta(0)
        if first is None:
            raise ValueError("it is not an LMDB file")
        second = self._meta(first[0])
        if second is None:
            raise ValueError(f"it is cut short or damaged: of {self.size} bytes page 1 is none")
        size, root, last, _ = max(first, second, key=lambda meta: meta[-1])
        return size, root, last

    def _meta(self, offset: int) -> tuple[int, int, int, int] | None:
        data = os.pread(self._descriptor, _META.size, offset)
        if len(data) < _META.size:
            return None
        magic, version, size, *_, flags, _, _, _, _, _, root, last, number = _META.unpack(data)
        if magic != _MAGIC:
            return None
        if version != _VERSION or size not in _PAGE_SIZES:
            raise ValueError(f"it is of version {version} with pages of {size} bytes")
        if flags:
            raise ValueError(f"its keys are of another kind (flags {flags}), expected plain ones")
        return size, root, last, number

    def _visit(self, number: int) -> list[int]:
        """Reads a page; returns the pages below it."""
        if number in self._seen or not 2 <= number <= self._last:
            raise ValueError(f"it is damaged: page {number} is out of place")
        self._seen.add(number)
        page = os.pread(self._descriptor, self._page_size, number * self._page_size)
        if len(page) < self._page_size:
            raise ValueError(
                f"it is cut short: it has {self.size} bytes, and page {number} lies behind them"
            )
        itself, _, flags, lower, upper = _PAGE.unpack_from(page)
        count = (lower - _PAGE.size) // 2
        kind = flags & (_BRANCH | _LEAF | _OVERFLOW)
        if itself != number or count < 0 or not lower <= upper <= len(page):
            raise ValueError(f"it is damaged: page {number} has a wrong head")
        places = struct.unpack_from(f"<{count}H", page, _PAGE.size)
        if kind == _LEAF:
            self._add(page, number, places)
            return []
        if kind != _BRANCH:
            raise ValueError(f"it is damaged: page {number} is of kind {flags}")
        return [self._child(page, place) for place in places]

    def _child(self, page: bytes, place: int) -> int:
        low, high, higher, _ = _NODE.unpack_from(page, place)
        return low | high << 16 | higher << 32

    def _add(self, page: bytes, number: int, places: tuple[int, ...]) -> None:
        """Adds the entries of a leaf."""
        offsets, sizes, pages = self.columns
        for place in places:
            low, high, flags, length = _NODE.unpack_from(page, place)
            size, start = low | high << 16, place + _NODE.size + length
            end = start + (8 if flags & _BIG else size)
            if flags & ~_BIG or end > len(page):
                raise ValueError(f"it is damaged: page {number} has a wrong entry")
            self.keys.append(page[start - length : start])
            own = int.from_bytes(page[start:end], "little") if flags & _BIG else -1
            if own > self._last:
                raise ValueError(f"it is damaged: a value lies on page {own} of {self._last}")
            inside = number * self._page_size + start
            offsets.append(own * self._page_size + _PAGE.size if own >= 0 else inside)
            sizes.append(size)
            pages.append(own)


def check_page(head: bytes, number: int) -> None:
    """Raises ValueError unless 16 bytes are the head of the pages of one large value."""
    itself, _, flags, _, _ = _PAGE.unpack(head)
    if itself != number or not flags & _OVERFLOW:
        raise ValueError(f"the LMDB is damaged: page {number} holds no large value")


HEAD = _PAGE.size
"""Bytes of a page before its content."""

"""Reading records one at a time, and what happens to those that can't be read."""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import cv2
import numpy as np

from vlp_jax.data.batch import check_indices
from vlp_jax.data.sources.base import Source

_LISTED = 1000  # reasons kept; the count goes on
_ATTEMPTS = 100  # unreadable records in a row before giving up
_FAILURES = (ValueError, OSError, EOFError, cv2.error)
Example = dict[str, np.ndarray]
_LOG = logging.getLogger(__name__)


def spread_rows(size: int, most: int) -> np.ndarray:
    """Returns up to `most` different rows of `size`, evenly spread over all of them, int [N]."""
    return np.linspace(0, size - 1, min(most, size)).astype(int)


class SkippedRecords:
    """Counts and lists the records that could not be used; safe to share between threads.

    A copy in another process starts empty and is a `SkippedElsewhere`.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._indices: set[int] = set()
        self._reasons: dict[int, str] = {}

    def add(self, index: int, reason: str) -> None:
        """Files one record; a record is counted once however often it fails."""
        with self._lock:
            if index in self._indices:
                return
            self._indices.add(index)
            if len(self._reasons) < _LISTED:
                self._reasons[index] = reason
        self._tell(index, reason)

    def _tell(self, index: int, reason: str) -> None:
        _LOG.warning("skipped record %d: %s", index, reason)

    def __reduce__(self) -> tuple[type["SkippedRecords"], tuple[()]]:
        return SkippedElsewhere, ()

    @property
    def total(self) -> int:
        """The number of different records skipped so far."""
        with self._lock:
            return len(self._indices)

    @property
    def reasons(self) -> dict[int, str]:
        """A copy of record index → reason, for the first 1,000."""
        with self._lock:
            return dict(self._reasons)


class SkippedElsewhere(SkippedRecords):
    """Those of a worker process, which the main process asks for instead of reading its log."""

    def __init__(self):
        super().__init__()
        self._untold: deque[tuple[int, str]] = deque()

    def _tell(self, index: int, reason: str) -> None:
        self._untold.append((index, reason))

    def taken(self) -> list[tuple[int, str]]:
        """Returns the (record index, reason) that have come since it was last asked."""
        return [self._untold.popleft() for _ in range(len(self._untold))]


class OtherRecords:
    """Records that show another image than a given one, drawn from (seed, epoch, index)."""

    def __init__(self, source: Source, image_id: int, key: tuple[int, int, int]):
        self._source = source
        self._image_id = image_id
        self._key = key

    def __call__(self, draw: int) -> dict[str, Any]:
        """Returns the record of one draw; draws of different numbers are independent.

        Records that can't be read are passed over. ValueError if 100 in a row are of no use.
        """
        rng = np.random.default_rng((*self._key, 2, draw))
        for _ in range(_ATTEMPTS):
            try:
                record = self._source[int(rng.integers(len(self._source)))]
            except _FAILURES:
                continue
            if record.get("image_id") != self._image_id:
                return record
        raise ValueError(
            f"no record of another image was found in {_ATTEMPTS} draws: pairings and region "
            "maskings that show one need a data set of several images"
        )


class RecordReader:
    """Makes examples from record indices, with random numbers from (seed, epoch, index)."""

    def __init__(
        self,
        source: Source,
        chain: Callable[[dict[str, Any], np.random.Generator, OtherRecords], Example],
        seed: int,
        skipped: SkippedRecords,
    ):
        if not len(source):
            raise ValueError("the source has no records")
        self.source = source
        self.chain = chain
        self.seed = seed
        self.skipped = skipped
        self.sizes: Mapping[str, int] = {}  # of the tables that fields point into

    def read(self, index: int, epoch: int = 0) -> Example | None:
        """Returns the example of a record, or None (and files it) if it can't be used."""
        key = (self.seed, epoch, index)
        record: dict[str, Any] = {}
        try:
            record = self.source[index]
            others = OtherRecords(self.source, record.get("image_id"), key)
            example = self.chain(record, np.random.default_rng(key), others)
            check_indices(example, self.sizes)
            return example
        except _FAILURES as error:
            reason = str(error) or type(error).__name__
            name = record.get("name", "")  # unknown while the source itself fails, which says it
            self.skipped.add(index, f"{name}: {reason}" if name else reason)
            return None

    def read_or_replace(self, index: int, epoch: int = 0) -> Example:
        """Returns the example of a record, or of the next usable one in a fixed random walk.

        ValueError if 100 records in a row (or all of them) are unusable.
        """
        example = self.read(index, epoch)
        if example is not None:
            return example
        size = len(self.source)
        stride = self._stride(index, epoch, size)
        attempts = min(size, _ATTEMPTS)
        for attempt in range(1, attempts):
            example = self.read((index + attempt * stride) % size, epoch)
            if example is not None:
                return example
        raise ValueError(
            f"{attempts} of {size} records were tried in a row and none could be used; "
            f"record {index}: {self.skipped.reasons.get(index, 'see the warnings above')}"
        )

    def _stride(self, index: int, epoch: int, size: int) -> int:
        """Returns a step width that has no factor in common with `size`, so it visits all."""
        rng = np.random.default_rng((self.seed, epoch, index, 1))
        while True:
            stride = int(rng.integers(1, size)) if size > 1 else 1
            if math.gcd(stride, size) == 1:
                return stride


def usable_records(
    read: Callable[[int], dict[str, Any]], rows: Iterable[int], skipped: SkippedRecords
) -> dict[int, dict[str, Any]]:
    """Returns row → what `read` gives of it, in order; files those that can't be in `skipped`."""
    records = {}
    for row in rows:
        try:
            records[int(row)] = read(int(row))
        except _FAILURES as error:
            skipped.add(int(row), str(error) or type(error).__name__)
    return records

"""Reading records one at a time, and what happens to those that can't be read."""

import logging
import math
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from vlp_jax.data.processor import Example
from vlp_jax.data.sources.base import Source

_LISTED = 1000  # reasons kept; the count goes on
_ATTEMPTS = 100  # unreadable records in a row before giving up
_FAILURES = (ValueError, OSError, EOFError, cv2.error)
_LOG = logging.getLogger(__name__)


class SkippedRecords:
    """Counts and lists the records that could not be used; safe to share between threads."""

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
        _LOG.warning("skipped record %d: %s", index, reason)

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


class RecordReader:
    """Makes examples from record indices, with random numbers from (seed, epoch, index)."""

    def __init__(
        self,
        source: Source,
        processor: Callable[[dict[str, Any], np.random.Generator], Example],
        seed: int,
        skipped: SkippedRecords,
    ):
        if not len(source):
            raise ValueError("the source has no records")
        self.source = source
        self.processor = processor
        self.seed = seed
        self.skipped = skipped

    def read(self, index: int, epoch: int = 0) -> Example | None:
        """Returns the example of a record, or None (and files it) if it can't be used."""
        rng = np.random.default_rng((self.seed, epoch, index))
        try:
            return self.processor(self.source[index], rng)
        except _FAILURES as error:
            self.skipped.add(index, str(error) or type(error).__name__)
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

"""Batches made ahead of the step that asks for them: in threads, or in worker processes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vlp_jax.config import DataConfig
from vlp_jax.data.records import SkippedRecords
from vlp_jax.data.workers import in_workers

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Reading:
    """Who makes batches ahead: `threads` threads that keep `prefetch` of them ready.

    They belong to this process, or with `workers` to each of so many other processes. Batches are
    the same with any numbers.
    """

    threads: int = 1
    prefetch: int = 4
    workers: int = 0

    @classmethod
    def of(cls, config: DataConfig) -> "Reading":
        """Returns what the data's settings say."""
        return cls(config.threads, config.prefetch, config.workers)


class BatchMaker(Protocol):
    """Makes any batch, from its number alone, and in several threads at once.

    `skipped_by_source` is where records that can't be used are filed. A maker can be pickled if its
    sources can.
    """

    skipped_by_source: Mapping[str, SkippedRecords]

    def batch(self, step: int) -> Batch: ...


def read_ahead(maker: BatchMaker, start: int, stop: int, reading: Reading) -> Iterator[Batch]:
    """Yields the batches start, …, stop - 1, in order.

    Closing the generator (or dropping it) stops threads and ends processes.
    """
    import grain  # noqa: PLC0415 (slow to import)

    options = grain.ReadOptions(num_threads=reading.threads, prefetch_buffer_size=reading.prefetch)
    steps = grain.MapDataset.range(start, stop)
    if workers := min(reading.workers, stop - start):
        yield from in_workers(maker, steps, options, workers)
        return
    batches = iter(steps.map(maker.batch).to_iter_dataset(options))
    try:
        yield from batches
    finally:
        batches.close()

"""Batches for training and evaluation, built on Grain; the only state is the step number."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vlp_jax.data.batch import Field, check_batch, check_indices, stack
from vlp_jax.data.read_ahead import Batch, Reading, read_ahead
from vlp_jax.data.records import RecordReader, SkippedRecords
from vlp_jax.data.sources.base import Source
from vlp_jax.data.transforms import Chain

FOREVER = 2**48
"""Steps; an endless range for Grain."""


class Pipeline:
    """An endless stream of training batches with random access by step.

    Rows step * batch_size … of the endless record order (each epoch shuffled anew) make up the
    global batch; this host gets its contiguous share, so the global batch is the same for any
    number of hosts. Random numbers depend on (seed, epoch, record index) alone.
    """

    def __init__(
        self,
        source: Source,
        chain: Chain,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        host: int = 0,
        hosts: int = 1,
        reading: Reading = Reading(),
    ):
        """batch_size counts all hosts; `reading` is who makes the batches of `iterate` ahead."""
        _check_share(batch_size, host, hosts)
        if not 0 <= seed < 2**32:
            raise ValueError(f"the data seed is {seed}, expected 0 to 2**32 - 1")
        if len(source) < batch_size:
            raise ValueError(
                f"the data set has {len(source)} records, fewer than one batch of {batch_size}; "
                "make the batch smaller or the data set larger"
            )
        self._skipped = SkippedRecords()
        self._left_out = len(source.skipped)
        self._reader = RecordReader(source, chain, seed, self._skipped)
        self._fields = chain.fields
        self._order = _record_order(len(source), seed, shuffle)
        self._size = len(source)
        self._batch_size = batch_size
        self._rows = _share(batch_size, host, hosts)
        self._reading = reading

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "first"}

    @property
    def records(self) -> int:
        """The number of records of the source."""
        return self._size

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over the data."""
        return self._size // self._batch_size

    @property
    def skipped(self) -> dict[int, str]:
        """Record index → reason of the records that were replaced, the first 1,000 of them."""
        return self._skipped.reasons

    @property
    def skipped_by_source(self) -> dict[str, SkippedRecords]:
        """Where the records that were replaced are filed; the one source has no name here."""
        return {"": self._skipped}

    @property
    def skipped_total(self) -> int:
        """The number of records that were replaced, including those only read ahead.

        Entries that the source itself has left out (its `skipped`) count as well.
        """
        return self._left_out + self._skipped.total

    def know_sizes(self, sizes: Mapping[str, int]) -> None:
        """Skips from now on records with numbers beyond the tables of the model.

        sizes: as in `check_indices`; they are known when there is a model, which follows the first
        batch. That is made again if it holds such a record.
        """
        self._reader.sizes = sizes
        try:
            check_indices(self.first, sizes)
        except ValueError:
            del self.first

    @cached_property
    def first(self) -> Batch:
        """This host's share of the first batch, which start-up looks at; it is made once."""
        return self._make(0)

    def batch(self, step: int) -> Batch:
        """Returns this host's share of the global batch of a step."""
        return dict(self.first) if step == 0 else self._make(step)

    def _make(self, step: int) -> Batch:
        start = step * self._batch_size
        examples = [self._example(start + row) for row in self._rows]
        return _finish(examples, np.ones(len(examples), np.bool_), self._fields)

    def iterate(self, start_step: int = 0) -> Iterator[Batch]:
        """Yields the batches of start_step, start_step + 1, … made ahead in the background.

        Closing the generator (or dropping it) stops threads and ends processes.
        """
        return read_ahead(self, start_step, FOREVER, self._reading)

    def _example(self, position: int) -> Batch:
        return self._reader.read_or_replace(self._order[position], position // self._size)


def evaluation_batches(
    source: Source,
    chain: Chain,
    batch_size: int,
    limit: int | None = None,
    host: int = 0,
    hosts: int = 1,
    skipped: SkippedRecords | None = None,
    reading: Reading = Reading(),
) -> Iterator[Batch]:
    """Yields each of the first `limit` records once, in order, in batches of one size.

    Rows beyond the end and records that can't be used are copies of a usable record with
    example_mask False. Every host yields the same number of batches. Random numbers (masking)
    are the same at every call.
    """
    _check_share(batch_size, host, hosts)
    size = len(source) if limit is None else min(limit, len(source))
    reader = RecordReader(source, chain, 0, skipped or SkippedRecords())
    batches = _InOrder(reader, size, batch_size, _share(batch_size, host, hosts), chain.fields)
    return read_ahead(batches, 0, -(-size // batch_size), reading)


@dataclass(frozen=True)
class _InOrder:
    """Batches of the first `size` records, of which this host has the rows `rows`."""

    reader: RecordReader
    size: int
    batch_size: int
    rows: range
    fields: Mapping[str, Field]

    @property
    def skipped_by_source(self) -> dict[str, SkippedRecords]:
        return {"": self.reader.skipped}

    def batch(self, step: int) -> Batch:
        indices = [step * self.batch_size + row for row in self.rows]
        examples = [self.reader.read(index) if index < self.size else None for index in indices]
        mask = np.array([example is not None for example in examples])
        if not mask.all():
            usable = next((e for e in examples if e is not None), None)
            filler = self.reader.read_or_replace(0) if usable is None else usable
            examples = [filler if example is None else example for example in examples]
        return _finish(examples, mask, self.fields)


def _finish(examples: list[Batch], mask: np.ndarray, fields: Mapping[str, Field]) -> Batch:
    batch = stack(examples) | {"example_mask": mask}
    check_batch(batch, fields)
    return batch


def _record_order(size: int, seed: int, shuffle: bool):
    """Returns an endless Grain data set of record indices, shuffled anew in each epoch."""
    import grain  # noqa: PLC0415 (slow to import)

    order = grain.MapDataset.range(size)
    if shuffle:
        order = order.seed(seed).shuffle()
    return order.repeat()


def _check_share(batch_size: int, host: int, hosts: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    if not 0 <= host < hosts:
        raise ValueError(f"host is {host} of {hosts}, expected 0 to {hosts - 1}")
    if batch_size % hosts:
        raise ValueError(f"batch_size {batch_size} cannot be shared evenly by {hosts} hosts")


def _share(batch_size: int, host: int, hosts: int) -> range:
    """Returns the rows of the global batch that belong to this host."""
    rows = batch_size // hosts
    return range(host * rows, (host + 1) * rows)

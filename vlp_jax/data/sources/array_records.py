"""Source "array_records": records of any source, as `write_array_records` stores them."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlp_jax.data.sources.array_record_writer import FORMAT, LISTS
from vlp_jax.data.sources.base import (
    SOURCES,
    Record,
    check_index,
    existing_path,
    optional_module,
    usable_texts,
)
from vlp_jax.data.sources.record_bytes import decode_record
from vlp_jax.data.sources.splits import SPLITS, check_request


@SOURCES.register("array_records")
class ArrayRecords:
    """One record a stored record; pictures are encoded files in memory, whatever they were.

    path: the folder with `train.json` and its files. `provides` and the answers are those of the
    source that was stored. seed: taken because every source takes one.
    """

    def __init__(self, split: str = "train", path: str | None = None, seed: int = 0, **unknown):
        expected = "a folder of write_array_records"
        check_request(self, "array_records", split, path, expected, unknown)
        self._folder = existing_path(path, "folder of records")
        about = _description(self._folder, split)
        self.provides = frozenset(about["provides"])
        self.attribution = str(about["attribution"])
        self.skipped = list(about["skipped"])
        self._records = _open(self._folder, about["files"])
        train = self._folder / "train.json"
        self._train_files = _description(self._folder, "train")["files"] if train.exists() else None
        for name in LISTS:  # only those that the stored source had
            if name in about:
                setattr(self, name, functools.partial(tuple, about[name]))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        return self._read(self._records, check_index(index, len(self)))

    def texts(self) -> Iterator[str]:
        """Yields the captions and questions of the training split, if the folder has one."""
        records = _open(self._folder, self._train_files) if self._train_files else self._records

        def texts_of(index: int) -> list[str]:
            record = self._read(records, index)
            return [*record.get("captions", ()), *filter(None, [record.get("question")])]

        return usable_texts(texts_of, range(len(records)))

    def _read(self, records: Any, index: int) -> Record:
        try:
            return decode_record(records[index])
        except (ValueError, RuntimeError, IndexError) as error:
            raise ValueError(f"{self._folder} record {index}: {error}") from None


def _description(folder: Path, split: str) -> dict[str, Any]:
    """Returns the content of `split.json`; errors say what a folder of records looks like."""
    file = folder / f"{split}.json"
    if not file.is_file():
        known = sorted(path.stem for path in folder.glob("*.json") if path.stem in SPLITS)
        has = f"it has {', '.join(known)}" if known else "write_array_records has not written it"
        raise FileNotFoundError(f"{folder} has no split {split} ({file.name}): {has}")
    try:
        about = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from None
    kind = {key: about.get(key) for key in FORMAT} if isinstance(about, dict) else about
    if kind != FORMAT:
        raise ValueError(f"{file} describes {kind!r:.80}; expected {FORMAT}")
    return about


def _open(folder: Path, files: dict[str, int]) -> Any:
    """Returns random access to the stored bytes of all files, in order."""
    module = optional_module("array_record.python.array_record_data_source", "array_record")
    paths = [existing_path(folder / name, "record file") for name in files]
    # With the counts in the names no file is opened before it is needed.
    return module.ArrayRecordDataSource(
        [f"{path}[0:{count}]" for path, count in zip(paths, files.values())]
    )

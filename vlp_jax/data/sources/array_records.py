"""Source "array_records": records of any source, as `write_array_records` stores them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.json_text import read_json
from vlp_jax.data.paths import existing_path
from vlp_jax.data.sources.array_record_writer import FORMAT, LISTS
from vlp_jax.data.sources.base import (
    SOURCES,
    Record,
    Source,
    check_index,
    optional_module,
    usable_texts,
)
from vlp_jax.data.sources.record_bytes import decode_record
from vlp_jax.data.sources.splits import SPLITS, check_request


@SOURCES.register("array_records")
@dataclass(eq=False)
class ArrayRecords(Source):
    """One record a stored record; pictures are encoded files in memory, whatever they were.

    path: the folder with `train.json` and its files. `provides` and the answers are those of the
    source that was stored.
    """

    split_names = SPLITS

    def __post_init__(self):
        super().__post_init__()
        expected = "a folder of write_array_records"
        check_request("array_records", self.split, self.path, expected)
        self._folder = existing_path(self.path, "folder of records")
        about = _description(self._folder, self.split)
        self.provides = frozenset(about["provides"])
        self.attribution = about["attribution"]
        self.skipped = about["skipped"]
        self._records = _open(self._folder, about["files"])
        train = self._folder / "train.json"
        self._train_files = _description(self._folder, "train")["files"] if train.exists() else None
        self._lists = {name: tuple(about.get(name, ())) for name in LISTS}

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

    def answers(self) -> tuple[str, ...]:
        """Returns the answers of the stored source."""
        return self._lists["answers"]

    def region_classes(self) -> tuple[str, ...]:
        """Returns the region classes of the stored source."""
        return self._lists["region_classes"]

    def region_attributes(self) -> tuple[str, ...]:
        """Returns the region attributes of the stored source."""
        return self._lists["region_attributes"]

    def _read(self, records: Any, index: int) -> Record:
        with foreign_bytes(f"{self._folder} record {index}"):
            return decode_record(records[index])


def _description(folder: Path, split: str) -> dict[str, Any]:
    """Returns the content of `split.json`; errors say what a folder of records looks like."""
    file = folder / f"{split}.json"
    if not file.is_file():
        known = sorted(path.stem for path in folder.glob("*.json") if path.stem in SPLITS)
        has = f"it has {', '.join(known)}" if known else "write_array_records has not written it"
        raise FileNotFoundError(f"{folder} has no split {split} ({file.name}): {has}")
    about = read_json(file)
    kind = {key: about.get(key) for key in FORMAT} if isinstance(about, dict) else about
    if kind != FORMAT:
        raise ValueError(f"{file} describes {kind!r:.80}; expected {FORMAT}")
    for key, fits in _KEYS.items():
        if key in about or key not in LISTS:
            if not fits(about.get(key)):
                raise ValueError(f'{file} is damaged: "{key}" is {about.get(key)!r:.80}')
    return about


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(type(n) is int and n > 0 for n in value.values())


_KEYS = {
    "provides": _are_texts,
    "attribution": lambda value: isinstance(value, str),
    "skipped": _are_texts,
    "files": _are_counts,
    **dict.fromkeys(LISTS, _are_texts),
}
"""Key of a description → whether its value is of the right form."""


def _open(folder: Path, files: dict[str, int]) -> Any:
    """Returns random access to the stored bytes of all files, in order."""
    module = optional_module("array_record.python.array_record_data_source", "array_record")
    paths = [existing_path(folder / name, "record file") for name in files]
    # With the counts in the names no file is opened before it is needed.
    with foreign_bytes(str(folder)):
        return module.ArrayRecordDataSource(
            [f"{path}[0:{count}]" for path, count in zip(paths, files.values())]
        )

"""Source "hf_datasets": a Hugging Face `datasets` directory, as `save_to_disk` writes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.paths import existing_path
from vlp_jax.data.sources.base import (
    SOURCES,
    Record,
    Source,
    check_choice,
    check_index,
    optional_module,
    stable_fraction,
    usable_texts,
)
from vlp_jax.data.sources.columns import Columns, identity, number_texts
from vlp_jax.data.sources.nested_texts import texts_at
from vlp_jax.data.sources.splits import (
    SPLITS,
    check_holdout,
    check_request,
    held_out_mask,
    split_name,
)

_ROWS = 10_000  # read at a time


@SOURCES.register("hf_datasets")
@dataclass(eq=False)
class HfDatasets(Source):
    """One record a row of a `Dataset` or `DatasetDict` directory; the network is not used.

    path: the directory. image, captions, image_id: see `Columns`; pictures stay encoded. Without
    `image_id` a column of that name is taken, if there is one.
    splits: of a directory with several sets, which is which where names differ, as in
    {"test": "validation"}. holdout: of a directory with one set, the share of rows kept for
    "validation" and "test", which are one set, by a hash of the row's image id or number; 0
    trains on all.
    """

    split_names = SPLITS
    provides = frozenset({"image", "caption"})

    image: str = "image"
    captions: str = "caption"
    image_id: str | None = None
    splits: dict[str, str] | None = None
    holdout: float = 0.05

    def __post_init__(self):
        super().__post_init__()
        expected = "a directory that save_to_disk wrote"
        check_request("hf_datasets", self.split, self.path, expected)
        self._path = str(existing_path(self.path, "data set directory"))
        content = _load(self._path)
        sets = content.values() if isinstance(content, dict) else [content]
        if self.image_id is None and all("image_id" in rows.column_names for rows in sets):
            self.image_id = "image_id"
        self._columns = Columns(self.image, self.captions, self.image_id)
        if isinstance(content, dict):  # a DatasetDict
            self._data = content[_set_name(self.split, self.splits, content)]
            self._train = content[_set_name("train", self.splits, content)]
            self._rows, self._train_rows = range(len(self._data)), range(len(self._train))
        else:
            self._data = self._train = content
            held_out = self._held_out(check_holdout(self.holdout))
            self._train_rows = np.flatnonzero(~held_out)
            self._rows = self._train_rows if self.split == "train" else np.flatnonzero(held_out)
        for data in (self._data, self._train):
            self._columns.check(data.column_names, self._path)
        if not len(self._rows):
            raise ValueError(
                f"{self._path}: split {self.split!r} is empty. Give more rows or `holdout`"
            )
        # A row is decoded with all its columns, and pictures that are not used may be damaged.
        self._numbers = self._numbered_texts()
        used = list(dict.fromkeys(self._columns.names().values()))
        self._data = _keep_encoded(self._data.select_columns(used), self.image)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        row = int(self._rows[check_index(index, len(self))])
        name = f"{self._path} row {row}"
        with foreign_bytes(name):
            content = self._data[row]
        number = None if self._numbers is None else int(self._numbers[row])
        return self._columns.record(content, row, name, number)

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every record, int64 [N]."""
        column = self._columns.image_id
        if column is None:
            return np.asarray(self._rows, np.int64)
        if self._numbers is not None:
            return self._numbers[self._rows]
        numbers = map(_number, range(len(self._data)), _values(self._data, column))
        return np.fromiter(numbers, np.int64)[self._rows]

    def texts(self) -> Iterator[str]:
        """Yields the captions of the training rows, without reading pictures."""
        captions = self._columns.captions
        texts = self._train.select_columns([captions.partition(".")[0]])
        return usable_texts(lambda row: texts_at(texts[int(row)], captions), self._train_rows)

    def _numbered_texts(self) -> np.ndarray | None:
        """Returns the number of the image of each row where the ids are texts, else None."""
        column = self._columns.image_id
        if column is None or "string" not in str(self._data.features[column]):
            return None
        return number_texts(_values(self._data, column))

    def _held_out(self, holdout: float) -> np.ndarray:
        """Returns bool [rows], from image ids where there are some, so that images stay whole."""
        column = self._columns.image_id
        if column is None or column not in self._data.column_names:
            keys = range(len(self._data))
        else:
            keys = _values(self._data, column)
        places = np.array([stable_fraction(str(key)) for key in keys], np.float64)
        return held_out_mask(places, holdout)


def _values(data: Any, column: str) -> Iterator[Any]:
    """Yields a column, some rows at a time."""
    rows = data.select_columns([column])
    for start in range(0, len(rows), _ROWS):
        yield from rows[start : start + _ROWS][column]


def _number(row: int, value: Any) -> int:
    """Returns an image id; a negative one of the row where it is none."""
    try:
        return identity(value)
    except ValueError:
        return -1 - row


def _load(path: str) -> Any:
    datasets = optional_module("datasets", "datasets")
    try:
        with foreign_bytes():
            content = datasets.load_from_disk(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} is not a directory that `datasets` can load: {error}. Make one with "
            'datasets.load_dataset(...).save_to_disk("DIRECTORY")'
        ) from None
    return content.with_format(None)  # saved data may ask for another format, such as torch


def _set_name(split: str, splits: dict[str, str] | None, known: dict[str, Any]) -> str:
    name = split_name(split, splits, known)
    check_choice(f'set of rows for split "{split}"', name, known)
    return name


def _keep_encoded(data: Any, column: str) -> Any:
    """Returns the data with pictures as encoded bytes, which the processor decodes faster."""
    datasets = optional_module("datasets", "datasets")
    if isinstance(data.features[column], datasets.Image):
        return data.cast_column(column, datasets.Image(decode=False))
    return data

"""Source "tfds": a prepared TensorFlow Datasets directory in ArrayRecord, without TensorFlow."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.json_text import parse_json, read_json
from vlp_jax.data.paths import existing_path
from vlp_jax.data.sources.base import (
    SOURCES,
    Record,
    Source,
    check_index,
    optional_module,
    usable_texts,
)
from vlp_jax.data.sources.columns import Columns
from vlp_jax.data.sources.nested_texts import texts_at
from vlp_jax.data.sources.splits import SPLITS, check_request, split_name

_TRUSTED = "tensorflow_datasets.core.features."
_CLASS_KEYS = ("pythonClassName", "python_class_name")  # protobuf reads both spellings


@SOURCES.register("tfds")
@dataclass(eq=False)
class Tfds(Source):
    """One record an example of a TFDS data set that was prepared with `file_format=array_record`.

    path: the directory with `dataset_info.json`, such as `coco_captions/2014/1.1.0`.
    image, captions, image_id: see `Columns`; the defaults fit `coco_captions`. splits: what the
    data set calls "train", "validation" and "test" where it differs; the slices and sums of TFDS
    work: {"train": "train+restval", "test": "test[:1000]"}.
    """

    split_names = SPLITS
    provides = frozenset({"image", "caption"})

    image: str = "image"
    captions: str = "captions.text"
    image_id: str | None = "image/id"
    splits: dict[str, str] | None = None

    def __post_init__(self):
        super().__post_init__()
        check_request("tfds", self.split, self.path, "the directory with dataset_info.json")
        self._path = existing_path(self.path, "TFDS directory")
        self._columns = Columns(self.image, self.captions, self.image_id)
        builder = _builder(self._path)
        self._columns.check(list(builder.info.features), str(self._path))
        name = split_name(self.split, self.splits, list(builder.info.splits))
        self._examples = _examples(builder, name, self.image)
        self._name = f"{self._path} {name}"
        self._train_split = split_name("train", self.splits, list(builder.info.splits))
        if not len(self._examples):
            raise ValueError(f"{self._name}: the split is empty")

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Record:
        index = check_index(index, len(self))
        name = f"{self._name} {index}"
        return self._columns.record(_read(self._examples, index, name), index, name)

    def texts(self) -> Iterator[str]:
        """Yields the captions of the training examples; damaged ones are passed over."""
        train = _examples(_builder(self._path), self._train_split, self._columns.image)

        def captions(index: int) -> list[str]:
            name = f"{self._path} {self._train_split} {index}"
            return texts_at(_read(train, index, name), self._columns.captions)

        return usable_texts(captions, range(len(train)))


def _builder(path: Path) -> Any:
    """Returns the read-only builder of a directory; ValueError for other directories."""
    if not (path / "dataset_info.json").is_file():
        found = sorted(str(file.parent) for file in path.glob("**/dataset_info.json"))
        hint = f" Did you mean {' or '.join(found[:3])}?" if found else ""
        raise ValueError(f"{path} has no dataset_info.json, so TFDS did not prepare it.{hint}")
    _check_features(path)
    tfds = optional_module("tensorflow_datasets", "tfds")
    with foreign_bytes(str(path)):
        builder = tfds.builder_from_directory(str(path))
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        raise ValueError(
            f"{path} is stored as {builder.info.file_format.value}, which only TensorFlow reads; "
            "prepare it with `tfds build NAME --file_format=array_record`"
        )
    return builder


def _check_features(path: Path) -> None:
    """Raises ValueError for features of other packages: TFDS would import what the file names."""
    classes: list[Any] = []
    old: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        for key, value in pairs:
            if key in _CLASS_KEYS:
                classes.append(value)
            elif key == "type" and isinstance(value, str):  # a column of that name is an object
                old.append(value)
            elif key == "json" and isinstance(value, str):  # TFDS looks for features in it, too
                parse_json(value, "features", collect)

    file = existing_path(path / "features.json", "TFDS feature description")
    read_json(file, collect)
    if old:
        raise ValueError(
            f"{file} is in the form of an old TFDS, with the type {old[0]!r:.80}, which is not "
            "read; prepare the data set again with a newer TFDS"
        )
    for name in classes:
        if not isinstance(name, str) or not name.startswith(_TRUSTED):
            raise ValueError(
                f"{file} names the class {name!r}; only features of TFDS itself are read "
                f"({_TRUSTED}*), because others would import code"
            )


def _read(examples: Any, index: int, name: str) -> Any:
    """Returns an example; ValueError if it is damaged."""
    with foreign_bytes(f"{name}: damaged example"):
        return examples[index]


def _examples(builder: Any, split: str, image: str) -> Any:
    """Returns the random-access list of examples of a split, pictures still encoded."""
    tfds = optional_module("tensorflow_datasets", "tfds")
    optional_module("array_record", "array_record")
    decoders = {image: tfds.decode.SkipDecoding()}
    if not isinstance(builder.info.features[image], tfds.features.Image):
        raise ValueError(f'column "{image}" of {builder.data_path} is not an image')
    with foreign_bytes(f'{builder.data_path}: split "{split}"'):
        return builder.as_data_source(split=split, decoders=decoders)

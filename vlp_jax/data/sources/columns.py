"""Turns rows of a table (TFDS, Hugging Face `datasets`) into records, by the names of columns."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.data.sources.base import Record, check_choice
from vlp_jax.data.sources.nested_texts import texts_at

_MOST_INT32 = 2**31 - 1


@dataclass(frozen=True)
class Columns:
    """Which columns hold the picture, its captions and the number of the image.

    captions: a dotted path, such as `captions.text`. image_id: a column with whole numbers, or
    None for the number of the row.
    """

    image: str
    captions: str
    image_id: str | None = None

    def names(self) -> dict[str, str]:
        """Returns option → name of the column that it takes."""
        given = {"image": self.image, "captions": self.captions.partition(".")[0]}
        return given if self.image_id is None else given | {"image_id": self.image_id}

    def check(self, known: Collection[str], kind: str) -> None:
        """Raises ValueError with the nearest column for a name that is not among `known`."""
        for option, name in self.names().items():
            check_choice(f"column of {kind} (option {option})", name, known)

    def record(self, row: Mapping[str, Any], index: int, name: str) -> Record:
        """Returns the record of row number `index`; ValueError names the row."""
        try:
            captions = texts_at(row, self.captions)
            if not captions:
                raise ValueError("the caption is empty")
            identity = index if self.image_id is None else _identity(row[self.image_id])
            image = _image(row[self.image])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        return {"image": image, "image_id": identity, "captions": captions, "name": name}


def _image(value: Any) -> Any:
    """Returns encoded bytes, a path or an array; {"bytes", "path"} is how Hugging Face stores."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, bytes | str | np.ndarray) or len(value) == 0:
        raise ValueError(f"the image is {value!r:.60}; expected encoded bytes, a path or an array")
    return value


def _identity(value: Any) -> int:
    """Returns a whole number of 31 bits from a number or its digits."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= _MOST_INT32 or number != (float(value)):
        raise ValueError(f"the image id is {value!r:.60}; expected 0 to {_MOST_INT32}")
    return number

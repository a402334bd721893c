"""Turns rows of a table (TFDS, Hugging Face `datasets`) into records, by the names of columns."""

import os
from array import array
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.sources.base import Record, check_choice, stable_digest
from vlp_jax.data.sources.by_image import ImageGroups
from vlp_jax.data.sources.nested_texts import texts_at

_MOST_INT32 = 2**31 - 1


@dataclass(frozen=True)
class Columns:
    """Which columns hold the picture, its captions and the number of the image.

    captions: a dotted path, such as `captions.text`. image_id: a column with whole numbers or
    texts, or None for the number of the row.
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

    def record(
        self, row: Mapping[str, Any], index: int, name: str, image_id: int | None = None
    ) -> Record:
        """Returns the record of row number `index`; ValueError names the row.

        image_id: that of the row, where it has been found already.
        """
        with foreign_bytes(name):
            captions = texts_at(row, self.captions)
            if not captions:
                raise ValueError("the caption is empty")
            if image_id is None:
                image_id = index if self.image_id is None else identity(row[self.image_id])
            image = _image(row[self.image])
        return {"image": image, "image_id": image_id, "captions": captions, "name": name}


def _image(value: Any) -> Any:
    """Returns encoded bytes, a path or an array; {"bytes", "path"} is how Hugging Face stores."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, bytes | str | np.ndarray) or len(value) == 0:
        raise ValueError(f"the image is {value!r:.60}; expected encoded bytes, a path or an array")
    return value


def identity(value: Any) -> int:
    """Returns a whole number of 31 bits from a number or its digits, or a hash of other text.

    The hash of two different texts is the same once in two thousand million pairs.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str) and value and not value.strip().lstrip("+-").isdecimal():
        return stable_digest(value) % (_MOST_INT32 + 1)
    try:
        number = int(value)
        whole = number == float(value)
    except (TypeError, ValueError, OverflowError):
        number, whole = -1, False
    if not 0 <= number <= _MOST_INT32 or not whole:
        raise ValueError(f"the image id is {value!r:.60}; expected text or 0 to {_MOST_INT32}")
    return number


def number_texts(values: Iterable[Any]) -> np.ndarray:
    """Returns int64 [N]: the numbers that all texts are, or 0, 1, … in the order they appear.

    Equal texts have equal numbers and different ones different numbers. None counts as a text.
    """
    digests, numbers, digits = array("Q"), array("q"), True
    for value in values:
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        digests.append(stable_digest(text))
        if digits and text.isdecimal() and int(text[:20]) <= _MOST_INT32:
            numbers.append(int(text))
        else:
            digits = False
    if digits:
        return np.array(numbers, np.int64)
    return ImageGroups.of(np.array(digests, np.uint64)).number

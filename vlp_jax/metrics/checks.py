"""Checks of metric inputs that answer a wrong shape with a sentence instead of a traceback."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def array_of_shape(name: str, value: Any, shape: Sequence[int | str]) -> np.ndarray:
    """Returns `value` as an array after comparing its shape.

    A string entry of `shape` stands for any size (and names the axis in the message), an integer
    for exactly that size. Raises ValueError with the given and the expected shape.
    """
    array = np.asarray(value)
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or have == want for have, want in zip(array.shape, shape)
    )
    if not fits:
        expected = ", ".join(str(entry) for entry in shape)
        raise ValueError(f"{name} has shape {list(array.shape)}, expected [{expected}]")
    return array


def bool_mask(name: str, value: Any, shape: Sequence[int]) -> np.ndarray:
    """Returns `value` as a boolean array of `shape`; None means everywhere True."""
    if value is None:
        return np.ones(tuple(shape), bool)
    mask = array_of_shape(name, value, shape)
    if mask.dtype != bool:
        raise ValueError(f"{name} has dtype {mask.dtype}, expected bool")
    return mask


def no_nan(name: str, value: np.ndarray) -> np.ndarray:
    """Returns `value`; raises ValueError when it contains NaN, which has no place in a ranking."""
    if np.isnan(value).any():
        raise ValueError(f"{name} contains {int(np.isnan(value).sum())} NaN, expected numbers")
    return value


def same_length(**sequences: Sequence[Any]) -> int:
    """Returns the length shared by all the named sequences, or raises ValueError listing them."""
    lengths = {name: len(sequence) for name, sequence in sequences.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"expected equal lengths, but {listed}")
    return next(iter(lengths.values()))


def caption_pairs(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> list[tuple[str, Sequence[str]]]:
    """Returns each caption with its references; ValueError unless there is one for every image."""
    if not same_length(captions=captions, references=references):
        raise ValueError("there are no captions, expected at least one")
    for place, texts in enumerate(references):
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"references[{place}] is {texts!r}, expected a list of texts")
    return list(zip(captions, references))

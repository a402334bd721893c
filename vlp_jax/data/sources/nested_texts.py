"""Finds texts in nested records, by paths such as `captions.text`."""

from typing import Any

import numpy as np

from vlp_jax.config import nearest
from vlp_jax.data.foreign import listed


def valid_text(text: str) -> str:
    """Returns a text with U+FFFD for each lone surrogate, which JSON can hold but no tokenizer."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def texts_at(value: Any, path: str, numbers: bool = False) -> list[str]:
    """Returns the non-empty texts at a dotted path of keys, without surrounding space.

    Lists and arrays on the way, and at the end, are gone through: with {"captions": [{"text":
    "a"}, {"text": "b"}]} and {"captions": {"text": ["a", "b"]}} `captions.text` is ["a", "b"].
    Bytes are UTF-8; None counts as no text; see `valid_text` for what is replaced. With `numbers`
    whole ones are texts. ValueError for missing keys and other values.
    """
    return list(filter(None, _texts(value, path.split("."), path, numbers)))


def _texts(value: Any, keys: list[str], path: str, numbers: bool) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list | tuple | np.ndarray):
        return [text for item in value for text in _texts(item, keys, path, numbers)]
    if keys:
        return _texts(_entry(value, keys[0], path), keys[1:], path, numbers)
    if numbers and type(value) is int:
        value = str(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise ValueError(f'"{path}" is {value!r:.60}; expected text or a list of texts')
    return [valid_text(value).strip()]


def _entry(value: Any, key: str, path: str) -> Any:
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ValueError(f'"{path}": expected something with the key "{key}", found {kind}')
    if key not in value:
        known = listed([str(name) for name in value], 20)
        raise ValueError(f'"{path}": there is no "{key}".{nearest(key, value)} Known: {known}')
    return value[key]

"""Reads msgpack with numpy arrays as msgpack-numpy writes them, but never a pickle inside it."""

import re
from typing import Any

import numpy as np

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.sources.base import optional_module

_NUMBER_TYPE = re.compile(r"[<>|=]?([fiu][1248]|b1)")


def read_msgpack(data: bytes) -> Any:
    """Returns what msgpack and msgpack-numpy have written; ValueError if it is anything else."""
    msgpack = optional_module("msgpack", "regions")
    with foreign_bytes("damaged msgpack"):
        return msgpack.unpackb(data, raw=False, strict_map_key=False, object_hook=_array)


def _array(content: dict[Any, Any]) -> Any:
    """Turns {nd, type, shape, data} into an array or a number; the names are text or bytes."""
    named = {key.decode() if isinstance(key, bytes) else key: content[key] for key in content}
    if "nd" not in named:
        return content
    kind = named["type"]
    kind = kind.decode() if isinstance(kind, bytes) else kind
    if not isinstance(kind, str) or not _NUMBER_TYPE.fullmatch(kind):
        raise ValueError(f"an array of type {kind!r:.60}, expected numbers")
    numbers = np.frombuffer(named["data"], kind)
    return numbers.reshape(named["shape"]) if named["nd"] else numbers[0]

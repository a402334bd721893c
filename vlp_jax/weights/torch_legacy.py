"""The legacy container of torch before version 1.6: pickles, then the raw storages."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.weights.byte_window import ByteWindow
from vlp_jax.weights.torch_unpickler import Storage, StorageClaim, TensorBuilder, unpickle

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
COUNT_BYTES = 8


class _NoTensors:
    """Takes the place of the tensor builder while only the storages' sizes are collected."""

    def rebuild(self, *_: Any) -> None:
        return None

    rebuild_v3 = rebuild


@dataclass
class _Claims:
    """The element type and length of every storage that the pickle names."""

    by_key: dict[str, StorageClaim]

    def add(self, claim: StorageClaim) -> Storage:
        known = self.by_key.setdefault(claim.key, claim)
        if (known.dtype, known.count) != (claim.dtype, claim.count):
            raise ValueError(f'storage "{claim.key[:40]}" is described in two ways')
        return Storage(claim.key, np.zeros(0, np.uint8), claim.dtype)


def read_legacy(data: np.ndarray, tensors: TensorBuilder) -> Any:
    """Returns the object in a legacy torch file's bytes (uint8 [N]); see `read_torch_file`.

    The pickle is read twice: the sizes it names say where the storages lie behind it.
    """
    position = _check_preamble(data)
    claims = _Claims({})
    stream = ByteWindow(data, position)
    unpickle(stream, claims.add, _NoTensors())
    contents = _locate_storages(data, stream.tell(), claims.by_key)

    def load_storage(claim: StorageClaim) -> Storage:
        if claim.key not in contents:
            raise ValueError(f'storage "{claim.key[:40]}" is not in the file')
        content = contents[claim.key]
        if claim.window is not None:
            offset, length = claim.window
            size = claim.dtype.itemsize
            content = content[offset * size : (offset + length) * size]
        return Storage(claim.key, content, claim.dtype)

    return unpickle(ByteWindow(data, position), load_storage, tensors)


def _read_plain(stream: ByteWindow) -> Any:
    """Returns a pickle that has no storages."""
    claims = _Claims({})
    result = unpickle(stream, claims.add, _NoTensors())
    if claims.by_key:
        raise ValueError("damaged legacy file: a tensor in its preamble")
    return result


def _check_preamble(data: np.ndarray) -> int:
    """Checks magic number, protocol and system information; returns where the object begins."""
    stream = ByteWindow(data, 0)
    magic, version = _read_plain(stream), _read_plain(stream)
    if magic != MAGIC_NUMBER or version != PROTOCOL_VERSION:
        raise ValueError(f"legacy torch protocol {version!r:.40}; expected {PROTOCOL_VERSION}")
    if not isinstance(_read_plain(stream), dict):
        raise ValueError("damaged legacy file: no system information")
    return stream.tell()


def _locate_storages(
    data: np.ndarray, position: int, claims: dict[str, StorageClaim]
) -> dict[str, np.ndarray]:
    """Returns each storage's bytes; they follow in the order of a pickled list of keys.

    Each has its element count (int64) in front. Torch writes little-endian here on any machine.
    """
    stream = ByteWindow(data, position)
    keys = _read_plain(stream)
    if not isinstance(keys, list):
        raise ValueError("damaged legacy file: no list of storages")
    position = stream.tell()
    contents = {}
    for key in keys:
        claim = claims.get(str(key)) if isinstance(key, (str, int)) else None
        if claim is None:
            raise ValueError("damaged legacy file: a storage that no tensor names")
        begin = position + COUNT_BYTES
        count = int.from_bytes(data[position:begin].tobytes(), "little", signed=True)
        position = begin + claim.count * claim.dtype.itemsize
        if count != claim.count or position > data.size:
            raise ValueError(
                f'storage "{claim.key[:40]}" claims {claim.count} elements of {claim.dtype}; the '
                f"file names {count} and has {max(data.size - begin, 0)} bytes left"
            )
        contents[claim.key] = data[begin:position]
    return contents

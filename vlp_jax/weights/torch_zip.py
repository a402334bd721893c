"""The zip container that torch writes since version 1.6."""

import io
import struct
import sys
import zipfile
import zlib
from typing import Any

import numpy as np

from vlp_jax.weights.byte_window import MAX_PICKLE_BYTES
from vlp_jax.weights.torch_unpickler import Storage, StorageClaim, TensorBuilder, unpickle

LOCAL_HEADER_BYTES = 30
ENCRYPTED = 0x1


class ZipContainer:
    """The entries of a zip file as uint8 views; deflated ones are inflated within `byte_limit`."""

    def __init__(self, data: np.ndarray, byte_limit: int):
        self.data = data
        self.bytes_left = byte_limit
        self.entries = _list_entries(data)
        self.inflated: dict[str, np.ndarray] = {}

    def read(self, name: str) -> np.ndarray:
        """Returns an entry's bytes (read-only uint8 [N])."""
        if name not in self.entries:
            raise ValueError(f'the zip file has no entry "{name[:80]}"')
        info = self.entries[name]
        if info.flag_bits & ENCRYPTED:
            raise ValueError(f'zip entry "{name[:80]}" is encrypted')
        stored = self._stored_bytes(info)
        if info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size:
            return stored
        if info.compress_type != zipfile.ZIP_DEFLATED:
            raise ValueError(f'zip entry "{name[:80]}" is neither stored nor deflated')
        if name not in self.inflated:
            self.inflated[name] = self._inflate(info, stored)
        return self.inflated[name]

    def _stored_bytes(self, info: zipfile.ZipInfo) -> np.ndarray:
        """The entry's bytes as they lie in the file, found through its local header."""
        start = info.header_offset
        header = self.data[start : start + LOCAL_HEADER_BYTES].tobytes() if start >= 0 else b""
        if len(header) != LOCAL_HEADER_BYTES or not header.startswith(b"PK\x03\x04"):
            raise ValueError(f'zip entry "{info.filename[:80]}" has no header')
        name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
        begin = start + LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        end = begin + info.compress_size
        if end > self.data.size:
            raise ValueError(
                f'zip entry "{info.filename[:80]}" ends at byte {end} of {self.data.size}'
            )
        return self.data[begin:end]

    def _inflate(self, info: zipfile.ZipInfo, stored: np.ndarray) -> np.ndarray:
        self.bytes_left -= info.file_size
        if self.bytes_left < 0:
            raise ValueError("the zip file inflates far beyond its own size")
        content = b""
        if info.file_size:
            try:
                content = zlib.decompressobj(-15).decompress(stored.data, info.file_size)
            except zlib.error as error:
                raise ValueError(f'zip entry "{info.filename[:80]}": {error}') from None
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise ValueError(f'zip entry "{info.filename[:80]}" does not inflate to its content')
        return np.frombuffer(content, np.uint8)


def _list_entries(data: np.ndarray) -> dict[str, zipfile.ZipInfo]:
    """Returns the zip directory by name."""
    try:
        with zipfile.ZipFile(_ArrayFile(data)) as archive:
            return {info.filename: info for info in archive.infolist()}
    except Exception as error:  # zipfile raises many kinds for a damaged directory
        raise ValueError(f"damaged or truncated zip file: {error}") from None


class _ArrayFile(io.RawIOBase):
    """A read-only file object over bytes in memory that copies only what is read."""

    def __init__(self, data: np.ndarray):
        self.data = data
        self.position = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.data.size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the start of the file")
        self.position = base + offset
        return self.position

    def read(self, size: int = -1) -> bytes:
        end = self.data.size if size is None or size < 0 else self.position + size
        content = self.data[self.position : end].tobytes()
        self.position += len(content)
        return content


def read_zip(data: np.ndarray, tensors: TensorBuilder) -> Any:
    """Returns the object in a torch zip file's bytes (uint8 [N]); see `read_torch_file`."""
    container = ZipContainer(data, tensors.byte_limit)
    root = _find_root(container)
    swapped = _is_swapped(container, root)

    def load_storage(claim: StorageClaim) -> Storage:
        content = container.read(f"{root}data/{claim.key}")
        needed = claim.count * claim.dtype.itemsize
        if content.size < needed:
            raise ValueError(
                f'storage "{claim.key[:40]}" claims {claim.count} elements of {claim.dtype} '
                f"({needed} bytes); the file has {content.size} bytes"
            )
        return Storage(claim.key, content[:needed], claim.dtype, swapped)

    pickled = container.read(f"{root}data.pkl")
    if pickled.size > MAX_PICKLE_BYTES:
        raise ValueError(f"data.pkl has {pickled.size} bytes; expected at most {MAX_PICKLE_BYTES}")
    return unpickle(io.BytesIO(pickled.tobytes()), load_storage, tensors)


def _find_root(container: ZipContainer) -> str:
    """Returns the folder inside the zip that holds data.pkl, such as "archive/"."""
    for name in container.entries:
        folder, _, last = name.rpartition("/")
        if last == "data.pkl" and "/" not in folder:
            root = f"{folder}/" if folder else ""
            break
    else:
        shown = ", ".join(list(container.entries)[:5])
        raise ValueError(f"a zip file without data.pkl is not a torch file (it has {shown[:200]})")
    if f"{root}constants.pkl" in container.entries:
        raise ValueError(
            "a TorchScript program; expected a checkpoint (save its `state_dict()` instead)"
        )
    return root


def _is_swapped(container: ZipContainer, root: str) -> bool:
    """Whether the numbers were written on a machine with the other byte order."""
    name = f"{root}byteorder"
    if name not in container.entries:
        return sys.byteorder != "little"
    order = container.read(name)[:16].tobytes()
    if order not in (b"little", b"big"):
        raise ValueError(f'byte order {order!r} is unknown; expected "little" or "big"')
    return order.decode() != sys.byteorder
